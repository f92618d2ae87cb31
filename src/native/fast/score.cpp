// What a fast model says: probabilities of given documents, a look inside, and new documents from
// given coins.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine.hpp"

namespace microgpt::fast {

Index Engine::log_probabilities(const Documents& documents, double* out, Stop& stop) {
    if (stop.now()) return 0;
    std::vector<Tokens> batch;
    view(documents, 0, documents.count, batch);
    size_t finished = 0;
    const std::span<const Tokens> all = batch;
    const int threads =
        threads_for(all.first(std::min<size_t>(all.size(), 512)));  // about a portion
    for (size_t first = 0; first < all.size(); finished = first) {
        const size_t start = first;
        first = plan_.fill(all, start, all.size(), model_.block_size, model_.n_head,
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
            const Index document = plan_.order[i];
            std::copy(at, at + plan_.documents[i].positions,
                      out + documents.starts[document] - document);
            at += plan_.documents[i].positions;
        }
    }
    pool_.reset();
    return static_cast<Index>(finished);
}

namespace {

// Probabilities of the next token, in float64. (reference.softmax)
void softmax(const float* logits, int n, double temperature, double* p) {
    double highest = -HUGE_VAL, total = 0.0;
    for (int i = 0; i < n; i++) p[i] = logits[i] / temperature, highest = std::max(highest, p[i]);
    for (int i = 0; i < n; i++) total += p[i] = std::exp(p[i] - highest);
    for (int i = 0; i < n; i++) p[i] /= total;
}

}  // namespace

void Engine::trace(const Documents& documents, double* probabilities, double* attention,
                   Stop& stop) {
    stop.throw_if_now();
    std::vector<Tokens> batch;
    view(documents, 0, 1, batch);
    plan_.fill(batch, 0, 1, model_.block_size, model_.n_head, row_limit_);
    reserve(plan_.rows(), plan_.attention, plan_.longest, false, 1);
    bind_plan();
    if (!forward(plan_.groups, 1, stop)) throw Stopped{};
    const int n = plan_.documents[0].positions;
    for (int t = 0; t < n; t++) {
        softmax(rows_.logits + static_cast<size_t>(t) * model_.vocab, model_.vocab_size, 1.0,
                probabilities + static_cast<size_t>(t) * model_.vocab_size);
    }
    for (const LayerRows& a : layer_rows_) {
        for (int h = 0; h < model_.n_head; h++) {
            const float* block = a.attention;  // one block of queries after the other
            for (int first = 0; first < n; first += kQueries) {
                const int keys = std::min(first + kQueries, n);
                for (int t = first; t < keys; t++) {
                    for (int s = 0; s <= t; s++)
                        *attention++ = block[attention_index(model_, keys, h, s, t - first)];
                }
                block += attention_floats(model_.n_head, keys);
            }
        }
    }
}

// One position after the other, each in a row of its own: a document of which all but the last
// position is shared.
class CachedReader final : public Reader {
public:
    explicit CachedReader(Engine& engine)
        : e_(engine),
          tokens_(static_cast<size_t>(engine.model_.block_size)),
          path_(tokens_.size()),
          probabilities_(static_cast<size_t>(engine.model_.vocab_size)),
          document_{tokens_.data(), 0, 0, 0, path_.data(), true, 0} {
        const int block = e_.model_.block_size;
        std::iota(path_.begin(), path_.end(), 0);
        e_.reserve(block, attention_size(e_.model_.n_head, block, block - 1), block, false, 1);
        e_.rows_.token = tokens_.data(), e_.rows_.position = path_.data();
        e_.rows_.documents = &document_;
    }

    void read(int32_t token, Index position, Stop& stop) override {
        row_ = static_cast<int>(position);
        tokens_[static_cast<size_t>(row_)] = token;
        document_.positions = row_ + 1, document_.shared = row_, document_.first_row = row_;
        const Group g{0, 1, row_, row_ + 1, 0, 0};
        if (!e_.forward({&g, 1}, 1, stop)) throw Stopped{};
    }

    double* probabilities(double temperature) override {
        const Model& m = e_.model_;
        softmax(e_.rows_.logits + static_cast<size_t>(row_) * m.vocab, m.vocab_size, temperature,
                probabilities_.data());
        return probabilities_.data();
    }

private:
    Engine& e_;
    std::vector<int32_t> tokens_, path_;
    std::vector<double> probabilities_;
    Document document_;
    int row_ = 0;
};

void Engine::generate(const Request& request, Generated& generated, Stop& stop) {
    CachedReader reader(*this);
    microgpt::generate(reader, request, model_.block_size, model_.vocab_size, generated, stop);
}

}  // namespace microgpt::fast
