#include "sampling.hpp"

#include <cstring>

namespace microgpt {

Reader::~Reader() = default;

namespace {

// Tokens, the most probable first, ties by the lower token. A merge sort: stable, and safe with
// NaN.
void rank(const double* p, Index count, std::int32_t* tokens, std::int32_t* merged) {
    for (Index i = 0; i < count; i++) tokens[i] = static_cast<std::int32_t>(i);
    for (Index width = 1; width < count; width *= 2) {
        for (Index low = 0; low < count; low += 2 * width) {
            const Index middle = low + width < count ? low + width : count;
            const Index high = low + 2 * width < count ? low + 2 * width : count;
            Index left = low, right = middle;
            for (Index to = low; to < high; to++) {
                const bool take_right =
                    left >= middle || (right < high && p[tokens[right]] > p[tokens[left]]);
                merged[to] = take_right ? tokens[right++] : tokens[left++];
            }
        }
        std::memcpy(tokens, merged, sizeof(std::int32_t) * static_cast<std::size_t>(count));
    }
}

// A vocabulary's probabilities, made ready for drawing.
class Distribution {
public:
    explicit Distribution(Index vocab_size)
        : sums_(static_cast<std::size_t>(vocab_size)),
          ranked_(sums_.size()),
          merged_(sums_.size()) {}

    void set(double* probabilities, const Sampling& sampling) {
        truncate(probabilities, size(), sampling, ranked_.data(), merged_.data());
        double sum = sums_[0] = probabilities[0];
        for (std::size_t i = 1; i < sums_.size(); i++) sums_[i] = sum = sum + probabilities[i];
    }
    std::int32_t draw(double coin) const { return microgpt::draw(sums_.data(), size(), coin); }

private:
    Index size() const { return static_cast<Index>(sums_.size()); }
    std::vector<double> sums_;
    std::vector<std::int32_t> ranked_, merged_;
};

}  // namespace

void truncate(double* p, Index vocab_size, const Sampling& sampling, std::int32_t* ranked,
              std::int32_t* merged) {
    if (sampling.top_k == 0 && sampling.top_p >= 1.0) return;
    rank(p, vocab_size, ranked, merged);
    Index kept = sampling.top_k && sampling.top_k < vocab_size ? sampling.top_k : vocab_size;
    if (sampling.top_p < 1.0) {
        double sum = p[ranked[0]];
        Index last = 0;
        while (last + 1 < kept && !(sum >= sampling.top_p)) sum = sum + p[ranked[++last]];
        kept = last + 1;
    }
    for (Index i = kept; i < vocab_size; i++) p[ranked[i]] = 0;
}

std::int32_t draw(const double* running_sums, Index vocab_size, double coin) {
    const double x = coin * (running_sums[vocab_size - 1] + 0.0);
    Index low = 0, high = vocab_size - 1;
    while (low < high) {
        const Index middle = (low + high) / 2;
        if (x < running_sums[middle])
            high = middle;
        else
            low = middle + 1;
    }
    return static_cast<std::int32_t>(low);
}

void generate(Reader& reader, const Request& request, Index block_size, Index vocab_size,
              Generated& generated, Stop& stop) {
    const Index longest = block_size + 1 - request.start_length;  // coins of the longest document
    const auto end_token = static_cast<std::int32_t>(vocab_size - 1);
    Distribution first(vocab_size), next(vocab_size);
    std::vector<std::int32_t> document;
    try {
        stop.throw_if_now();
        // The start is common to all documents, and so is the distribution after it.
        for (Index t = 0; t < request.start_length; t++) reader.read(request.start[t], t, stop);
        first.set(reader.probabilities(request.sampling.temperature), request.sampling);
        while (static_cast<Index>(generated.documents.size()) < request.count &&
               request.coin_count - generated.coins_used >= longest) {
            document.assign(request.start + 1, request.start + request.start_length);
            const double* coin = request.coins + generated.coins_used;
            for (Index t = request.start_length;; t++) {
                const Distribution& distribution = t > request.start_length ? next : first;
                const std::int32_t token = distribution.draw(*coin++);
                stop.work(64);
                if (token == end_token) break;
                document.push_back(token);
                if (t == block_size) break;
                reader.read(token, t, stop);
                next.set(reader.probabilities(request.sampling.temperature), request.sampling);
            }
            generated.documents.push_back(document);
            generated.coins_used = coin - request.coins;
        }
    } catch (const Stopped&) {  // the unfinished document is dropped
    }
}

}  // namespace microgpt
