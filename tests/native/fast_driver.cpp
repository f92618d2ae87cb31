// Runs the fast engine without Python, for the sanitizers: all instruction sets, odd shapes,
// threads, stops at any moment. Exits 1 where two runs that must agree to the bit do not, or the
// loss does not fall.
//   g++ -std=c++20 -g -O1 -fsanitize=thread ... (tests/native/fast_sanitize.sh)
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>

#include "../../src/native/fast.hpp"

using namespace microgpt::fast;

namespace {

typedef std::vector<std::vector<int32_t>> Texts;

struct Outcome {
    std::vector<double> losses, state;
    bool operator==(const Outcome& o) const {
        return losses == o.losses && state.size() == o.state.size() &&
               std::memcmp(state.data(), o.state.data(), state.size() * sizeof(double)) == 0;
    }
};

std::vector<Tokens> views(const Texts& texts) { return {texts.begin(), texts.end()}; }

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

Outcome train(const Settings& s, const Texts& batch, int patience) {
    const size_t n = static_cast<size_t>(s.n_embd);
    const size_t count = n * static_cast<size_t>(2 * s.vocab_size + s.block_size) +
                         12 * n * n * static_cast<size_t>(s.n_layer);
    std::mt19937 random(7);
    std::normal_distribution<double> normal(0.0, 0.2);
    std::vector<double> p(count), zero(count, 0.0);
    for (double& x : p) x = static_cast<float>(normal(random));
    Engine engine(s, p.data(), zero.data(), zero.data(), count, 0);
    const std::vector<std::vector<Tokens>> batches(6, views(batch));
    const std::vector<double> rates(6, 0.003);
    Stop stop(patience < 0 ? never : later, &patience);
    Outcome out;
    engine.steps(batches, rates, stop, out.losses);
    Stop no(never, nullptr);
    engine.log_probabilities(batches[0], no);
    std::vector<double> probabilities, attention;
    engine.trace(batches[0][0], probabilities, attention, no);
    std::vector<double> coins(200, 0.4);
    std::vector<std::vector<int32_t>> documents;
    const std::vector<int32_t> start{s.vocab_size - 1};
    engine.generate(3, coins, start, {1.0, 0, 0.9}, no, documents);
    out.state.resize(3 * count);
    engine.state(out.state.data(), out.state.data() + count, out.state.data() + 2 * count);
    return out;
}

}  // namespace

int main() {
    std::mt19937 random(1);
    int bad = 0, cases = 0;
    const int shapes[][5] = {{1, 4, 16, 16, 27}, {2, 4, 32, 9, 30},  {2, 3, 21, 12, 5},
                             {1, 1, 5, 40, 2},   {3, 2, 66, 20, 80}, {1, 4, 64, 16, 17},
                             {1, 6, 6, 1, 1},    {1, 2, 128, 33, 49}};
    for (const std::string& isa : instruction_sets()) {
        for (const auto& [n_layer, n_head, n_embd, block_size, vocab_size] : shapes) {
            for (const int documents : {1, 37}) {
                const Texts batch = texts(random, documents, block_size + 3, vocab_size);
                const bool recipe = documents > 1;  // weight decay, hidden inputs and Muon as well
                Settings s{n_layer,
                           n_head,
                           n_embd,
                           block_size,
                           vocab_size,
                           0.85,
                           0.99,
                           1e-8,
                           recipe ? 0.1 : 0.0,
                           recipe ? 0.15 : 0.0,
                           recipe ? 0.95 : 0.0,
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
