// The exact engine for one instruction set: compiled once for each, with MICROGPT_ISA naming its
// namespace and MICROGPT_LANES its width. Nothing here may end up in another set's code, so it
// shares no templates of the standard library.
#include "exact.hpp"
#include "generate.hpp"
#include "probe.hpp"

namespace microgpt::MICROGPT_ISA {

class ExactEngine final : public Engine {
public:
    ExactEngine(const Shape& shape, const AdamSettings& settings, const double* parameters,
                const double* m, const double* v, Index step, bool vector_libm)
        : shape_(shape),
          model_(shape, vector_libm),
          adam_(settings, vector_libm),
          vector_libm_(vector_libm),
          parameters_(shape.parameters),
          m_(shape.parameters),
          v_(shape.parameters),
          g_(shape.parameters),
          step_(step) {
        const std::size_t bytes = sizeof(double) * static_cast<std::size_t>(shape.parameters);
        std::memcpy(parameters_.data(), parameters, bytes);
        std::memcpy(m_.data(), m, bytes);
        std::memcpy(v_.data(), v, bytes);
    }

    Index steps(const Documents& documents, const Index* batch_sizes, const double* rates,
                Index count, double* losses, End& end, Poll& poll) override {
        Index done = 0, first = 0;
        end = End::done;
        try {
            poll.now();
            for (; done < count; first += batch_sizes[done++]) {
                const double loss =
                    batch_gradient(documents, first, batch_sizes[done], g_.data(), poll);
                if (!(loss - loss == 0) || !all_finite(g_.data(), shape_.parameters)) {
                    end = End::diverged;
                    break;
                }
                adam_.update(parameters_.data(), m_.data(), v_.data(), g_.data(), shape_.parameters,
                             step_, rates[done], poll);
                step_++;
                losses[done] = loss;
            }
        } catch (const Stopped&) {
            end = End::stopped;
        }
        return done;
    }

    double gradients(const Documents& batch, double* gradient, Poll& poll) override {
        poll.now();
        return batch_gradient(batch, 0, batch.count, gradient, poll);
    }

    Index log_probabilities(const Documents& documents, double* found, Poll& poll) override {
        Index done = 0;
        try {
            poll.now();
            for (; done < documents.count; done++) {
                const Document document = document_of(documents, done);
                if (document.positions < 1) continue;
                model_.forward(parameters_.data(), document, poll);
                for (Index t = 0; t < document.positions; t++) {
                    const double p = model_.probability(t, document.tokens[t + 1]);
                    *found++ = p > 0 ? system_libm.log(p) : -__builtin_inf();
                }
            }
        } catch (const Stopped&) {
        }
        return done;
    }

    void trace(const Documents& documents, double* probabilities, double* attention,
               Poll& poll) override {
        const Document document = document_of(documents, 0);
        poll.now();
        if (document.positions < 1) return;
        model_.forward(parameters_.data(), document, poll);
        Tape& tape = model_.tape();
        for (Index t = 0; t < document.positions; t++)
            for (Index o = 0; o < shape_.vocab_size; o++)
                *probabilities++ = model_.probability(t, o);
        for (Index i = 0; i < shape_.n_layer; i++)
            for (Index h = 0; h < shape_.n_head; h++)
                for (Index t = 0; t < document.positions; t++) {
                    poll.work(8 * t);  // far apart in memory: as slow as so many multiplications
                    for (Index u = 0; u <= t; u++)
                        *attention++ = tape.layer(i).exps[(h * tape.stride + u) * tape.stride + t] *
                                       tape.layer(i).inverses[h * tape.stride + t];
                }
    }

    Index generate(Index count, const double* coins, Index coin_count, const std::int32_t* start,
                   Index prefix_length, const Sampling& sampling, std::int32_t* tokens,
                   Index* lengths, Index& coins_used, Poll& poll) override {
        Generator generator(shape_, parameters_.data(), vector_libm_);
        return generator.generate(count, coins, coin_count, start, prefix_length, sampling, tokens,
                                  lengths, coins_used, poll);
    }

    const double* parameters() const override { return parameters_.data(); }
    const double* m() const override { return m_.data(); }
    const double* v() const override { return v_.data(); }
    Index step() const override { return step_; }

private:
    Document document_of(const Documents& documents, Index i) const {
        const Index positions = documents.length(i) - 1;
        return {documents.tokens + documents.starts[i],
                positions < shape_.block_size ? positions : shape_.block_size};
    }

    // reference.batch_loss of documents first ... first + size - 1, and its gradient. The
    // documents' losses add up first to last, their gradients last to first. NaN and no gradient
    // where Python's arithmetic would raise: nothing to predict, or the logarithm of a probability
    // that has become 0.
    double batch_gradient(const Documents& documents, Index first, Index size, double* g,
                          Poll& poll) {
        const double share = 1.0 / static_cast<double>(size);
        bool defined = size > 0;
        document_losses_.grow(size);
        std::memset(g, 0,
                    sizeof(double) *
                        static_cast<std::size_t>(shape_.lm_head));  // the rest is written afresh
        for (Index i = size - 1; i >= 0 && defined; i--) {
            const Document document = document_of(documents, first + i);
            defined = document.positions > 0;
            if (!defined) break;
            model_.forward(parameters_.data(), document, poll);
            document_losses_[i] = model_.document_loss(document);
            defined = document_losses_[i] != __builtin_inf();
            if (defined)
                model_.backward(parameters_.data(), document, share, i == size - 1, g, poll);
        }
        if (!defined) {
            std::memset(g, 0, sizeof(double) * static_cast<std::size_t>(shape_.parameters));
            return __builtin_nan("");
        }
        double sum = 0;
        for (Index i = 0; i < size; i++) sum = sum + document_losses_[i];
        return share * sum;
    }

    const Shape shape_;
    Model model_;
    const Adam adam_;
    const bool vector_libm_;
    Buffer<double> parameters_, m_, v_, g_;
    Buffer<double> document_losses_;
    Index step_;
};

inline Engine* create(const Shape& shape, const AdamSettings& settings, const double* parameters,
                      const double* m, const double* v, Index step, bool vector_libm) {
    return new ExactEngine(shape, settings, parameters, m, v, step, vector_libm);
}

inline bool runs_here() {
#if MICROGPT_LANES == 8
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("avx2");
#elif MICROGPT_LANES == 4
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return true;
#endif
}

}  // namespace microgpt::MICROGPT_ISA

#define MICROGPT_JOIN(x, y) x##y
#define MICROGPT_SET(isa) MICROGPT_JOIN(isa, _set)
#define MICROGPT_TEXT(x) #x
#define MICROGPT_NAME(isa) MICROGPT_TEXT(isa)

namespace microgpt {
const InstructionSet MICROGPT_SET(MICROGPT_ISA){MICROGPT_NAME(MICROGPT_ISA),
                                                MICROGPT_ISA::runs_here, MICROGPT_ISA::probe,
                                                MICROGPT_ISA::create};
}
