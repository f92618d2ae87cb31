// What a fast model says: probabilities of given documents, a look inside, and new documents from
// given coins.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "fast.hpp"

namespace microgpt::fast {

std::vector<std::vector<float>> Engine::log_probabilities(std::span<const Tokens> documents,
                                                          Stop& stop) {
    std::vector<std::vector<float>> found(documents.size());
    size_t finished = 0;
    const int threads =
        threads_for(documents.first(std::min<size_t>(documents.size(), 512)));  // about a portion
    for (size_t first = 0; first < documents.size(); finished = first) {
        const size_t start = first;
        first = plan_.fill(documents, start, documents.size(), model_.block_size, model_.n_head,
                           std::min(row_limit_ * threads, 4096));
        reserve(plan_.rows(), plan_.attention, plan_.longest, false, threads);
        bind_plan();
        const int groups = static_cast<int>(plan_.groups.size());
        const bool done = forward(plan_.groups, threads, stop) &&
                          in_parallel(groups, threads, stop, [&](int i, int, Ticker& ticker) {
                              if (!ticker.stopped)
                                  kernels_.log_probabilities(
                                      model_, rows_, plan_.groups[static_cast<size_t>(i)], ticker);
                          });
        if (!done) break;
        const float* at = plan_.entry_log_probability.data();
        for (size_t i = 0; i < plan_.documents.size(); i++) {
            const int n = plan_.documents[i].positions;
            found[static_cast<size_t>(plan_.order[i])].assign(at, at + n);
            at += n;
        }
    }
    team_.reset();
    found.resize(finished);
    return found;
}

namespace {

// Probabilities of the next token, in float64. (reference.softmax)
void softmax(const float* logits, int n, double temperature, double* p) {
    double highest = -HUGE_VAL, total = 0.0;
    for (int i = 0; i < n; i++) p[i] = logits[i] / temperature, highest = std::max(highest, p[i]);
    for (int i = 0; i < n; i++) total += p[i] = std::exp(p[i] - highest);
    for (int i = 0; i < n; i++) p[i] /= total;
}

// Sets to zero what top-k and then top-p leave out; ties go to the lower id. (scalar.truncate)
void truncate(std::vector<double>& p, int64_t top_k, double top_p, std::vector<int>& rank) {
    if (top_k <= 0 && top_p >= 1.0) return;
    rank.resize(p.size());
    std::iota(rank.begin(), rank.end(), 0);
    std::stable_sort(rank.begin(), rank.end(), [&](int a, int b) { return p[a] > p[b]; });
    size_t kept = top_k > 0 ? std::min(static_cast<size_t>(top_k), p.size()) : p.size();
    if (top_p < 1.0) {
        double total = 0.0;
        for (size_t i = 0; i < kept; i++) {
            total += p[rank[i]];
            if (total >= top_p) kept = i + 1;
        }
    }
    for (size_t i = kept; i < p.size(); i++) p[rank[i]] = 0.0;
}

// The token that random.choices draws with these weights when its random() is `coin`. (scalar.draw)
int draw(std::vector<double>& weights, double coin) {
    for (size_t i = 1; i < weights.size(); i++) weights[i] += weights[i - 1];
    const double x = coin * (weights.back() + 0.0);
    return static_cast<int>(std::upper_bound(weights.begin(), weights.end() - 1, x) -
                            weights.begin());
}

}  // namespace

bool Engine::trace(Tokens tokens, std::vector<double>& probabilities,
                   std::vector<double>& attention, Stop& stop) {
    if (stop.now()) return false;
    plan_.fill({&tokens, 1}, 0, 1, model_.block_size, model_.n_head, row_limit_);
    reserve(plan_.rows(), plan_.attention, plan_.longest, false, 1);
    bind_plan();
    if (!forward(plan_.groups, 1, stop)) return false;
    const int n = plan_.documents[0].positions;
    probabilities.resize(times(static_cast<size_t>(n), static_cast<size_t>(model_.vocab_size)));
    for (int t = 0; t < n; t++) {
        softmax(rows_.logits + static_cast<size_t>(t) * model_.vocab, model_.vocab_size, 1.0,
                probabilities.data() + static_cast<size_t>(t) * model_.vocab_size);
    }
    for (const LayerRows& a : layer_rows_) {
        for (int h = 0; h < model_.n_head; h++) {
            const float* block = a.attention;  // one block of queries after the other
            for (int first = 0; first < n; first += kQueries) {
                const int keys = std::min(first + kQueries, n);
                for (int t = first; t < keys; t++) {
                    for (int s = 0; s <= t; s++)
                        attention.push_back(block[attention_index(model_, keys, h, s, t - first)]);
                }
                block += attention_floats(model_.n_head, keys);
            }
        }
    }
    return true;
}

// Logits of the token in plan_'s row `row`, after those in the rows before: a document of which all
// but the last position is shared. Null when stopped.
const float* Engine::next_logits(Document& document, int row, Stop& stop) {
    document.positions = row + 1, document.shared = row, document.first_row = row;
    const Group g{0, 1, row, row + 1, 0, 0};
    const bool done = forward({&g, 1}, 1, stop);
    return done ? rows_.logits + static_cast<size_t>(row) * model_.vocab : nullptr;
}

size_t Engine::generate(size_t count, std::span<const double> coins, Tokens start,
                        const Sampling& sampling, Stop& stop,
                        std::vector<std::vector<int32_t>>& documents) {
    const int block = model_.block_size, bos = model_.vocab_size - 1, n = model_.vocab_size;
    const int given = static_cast<int>(start.size());
    const size_t longest = static_cast<size_t>(block + 1 - given);
    std::vector<int32_t> tokens(static_cast<size_t>(block) + 1), path(static_cast<size_t>(block));
    std::vector<double> p(static_cast<size_t>(n));
    std::vector<int> rank;
    std::iota(path.begin(), path.end(), 0);
    reserve(block, attention_size(model_.n_head, block, block - 1), block, false, 1);
    plan_.position.assign(path.begin(), path.end());
    Document document{tokens.data(), 0, 0, 0, path.data(), true, 0};
    size_t used = 0;
    while (documents.size() < count && coins.size() - used >= longest && !stop.now()) {
        std::copy(start.begin(), start.end(), tokens.begin());
        rows_.token = tokens.data(), rows_.position = path.data(), rows_.documents = &document;
        int length = given;
        const size_t coins_before = used;
        for (int row = 0; row < block; row++) {
            const float* logits = next_logits(document, row, stop);
            if (!logits) return coins_before;  // a document under way is given up
            if (row + 1 < given) continue;
            p.resize(static_cast<size_t>(n));
            softmax(logits, n, sampling.temperature, p.data());
            truncate(p, sampling.top_k, sampling.top_p, rank);
            const int token = draw(p, coins[used++]);
            if (token == bos) break;
            tokens[static_cast<size_t>(length++)] = token;
        }
        documents.emplace_back(tokens.begin() + 1, tokens.begin() + length);
    }
    return used;
}

}  // namespace microgpt::fast
