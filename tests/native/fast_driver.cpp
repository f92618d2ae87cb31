// Runs the fast engine without Python, for the sanitizers: all instruction sets, odd shapes,
// threads, stops at any moment. Exits 1 where two runs that must agree to the bit do not, or the
// loss does not fall.
//   g++ -std=c++20 -g -O1 -fsanitize=thread ... (tests/native/fast_sanitize.sh)
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>

#include "../../src/native/cpu.hpp"
#include "../../src/native/fast/engine.hpp"

using namespace microgpt;

namespace {

typedef std::vector<std::vector<int32_t>> Texts;

struct Outcome {
    std::vector<double> losses, state;
    bool operator==(const Outcome& o) const {
        return losses == o.losses && state.size() == o.state.size() &&
               std::memcmp(state.data(), o.state.data(), state.size() * sizeof(double)) == 0;
    }
};

struct Flat {  // documents as an engine takes them, cut to block_size + 1 tokens
    std::vector<std::int32_t> tokens;
    std::vector<Index> starts{0};
    void add(const Texts& texts, Index longest) {
        for (const auto& text : texts) {
            const Index length = std::min<Index>(longest, static_cast<Index>(text.size()));
            tokens.insert(tokens.end(), text.begin(), text.begin() + length);
            starts.push_back(static_cast<Index>(tokens.size()));
        }
    }
    Documents view(Index count) const { return {tokens.data(), starts.data(), count}; }
};

struct Case {
    Config config;
    Index vocab_size;
    int threads;
    std::string isa;
};

Texts texts(std::mt19937& random, int count, int longest, int vocab_size) {
    Texts result;
    for (int i = 0; i < count; i++) {
        std::vector<int32_t> text{vocab_size - 1};
        for (int n = static_cast<int>(random() % static_cast<unsigned>(longest + 1)); n > 0; n--) {
            text.push_back(
                static_cast<int32_t>(random() % static_cast<unsigned>(std::min(vocab_size, 4))));
        }
        text.push_back(vocab_size - 1);
        result.push_back(text);
    }
    return result;
}

bool never(void*) { return false; }
bool later(void* count) { return --*static_cast<int*>(count) < 0; }

Outcome train(const Case& c, const Texts& batch, int patience) {
    const Shape shape = Shape::of(c.config, c.vocab_size);
    const auto count = static_cast<size_t>(shape.parameters);
    std::mt19937 random(7);
    std::normal_distribution<double> normal(0.0, 0.2);
    std::vector<double> p(count), zero(count, 0.0);
    for (double& x : p) x = static_cast<float>(normal(random));
    const State state{p.data(), zero.data(), zero.data(), 0};
    fast::Engine engine(c.config, shape, state, c.threads, c.isa);
    Flat documents;
    for (int i = 0; i < 6; i++) documents.add(batch, shape.block_size + 1);
    const auto size = static_cast<Index>(batch.size());
    const std::vector<Index> sizes(6, size);
    const std::vector<double> rates(6, 0.003);
    Outcome out;
    out.losses.resize(6);
    Stop stop(patience < 0 ? never : later, &patience);
    End end;
    const Index done = engine.steps(documents.view(6 * size), sizes.data(), rates.data(), 6,
                                    out.losses.data(), end, stop);
    out.losses.resize(static_cast<size_t>(done));
    Stop no(never, nullptr);
    const Documents all = documents.view(size);
    std::vector<double> numbers(documents.tokens.size());
    engine.log_probabilities(all, numbers.data(), no);
    const Index n = all.length(0) - 1, vocab = shape.vocab_size;
    std::vector<double> probabilities(static_cast<size_t>(n * vocab)),
        attention(static_cast<size_t>(shape.n_layer * shape.n_head * (n * (n + 1) / 2)));
    engine.trace(all, probabilities.data(), attention.data(), no);
    const std::vector<double> coins(200, 0.4);
    const std::int32_t start = static_cast<std::int32_t>(vocab - 1);
    Generated generated;
    engine.generate({3, coins.data(), 200, &start, 1, {1.0, 0, 0.9}}, generated, no);
    out.state.resize(3 * count);
    engine.copy_state(out.state.data(), out.state.data() + count, out.state.data() + 2 * count);
    return out;
}

}  // namespace

int main() {
    std::mt19937 random(1);
    int bad = 0, cases = 0;
    const int shapes[][5] = {{1, 4, 16, 16, 27}, {2, 4, 32, 9, 30},  {2, 3, 21, 12, 5},
                             {1, 1, 5, 40, 2},   {3, 2, 66, 20, 80}, {1, 4, 64, 16, 17},
                             {1, 6, 6, 1, 1},    {1, 2, 128, 33, 49}};
    for (const std::string& isa : microgpt::instruction_sets()) {
        for (const auto& [n_layer, n_head, n_embd, block_size, vocab_size] : shapes) {
            for (const int documents : {1, 37}) {
                const Texts batch = texts(random, documents, block_size + 3, vocab_size);
                const bool recipe = documents > 1;  // weight decay, hidden inputs and Muon as well
                Case s{{n_layer, n_embd, n_head, block_size, 0.85, 0.99, 1e-8, recipe ? 0.1 : 0.0,
                        recipe ? 0.15 : 0.0, recipe ? 0.95 : 0.0},
                       vocab_size,
                       1,
                       isa};
                const Outcome one = train(s, batch, -1);
                for (const int threads : {2, 4}) {
                    s.threads = threads;
                    cases++;
                    if (!(train(s, batch, -1) == one))
                        bad++, std::printf("%s n_embd %d: %d threads differ\n", isa.c_str(), n_embd,
                                           threads);
                }
                train(s, batch, static_cast<int>(random() % 3));
                if (vocab_size > 2 && !recipe && !(one.losses.back() < one.losses.front()))
                    bad++, std::printf("n_embd %d: the loss does not fall\n", n_embd);
            }
        }
    }
    std::printf("%d comparisons, %d bad\n", cases, bad);
    return bad ? 1 : 0;
}
