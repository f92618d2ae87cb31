// The exact engine for one instruction set: compiled once for each, with MICROGPT_ISA naming its
// namespace and MICROGPT_LANES its width. Nothing here may end up in another set's code, so it
// shares no templates of the standard library.
#include "model.hpp"
#include "position.hpp"
#include "probe.hpp"

#define MICROGPT_JOIN(x, y) x##y
#define MICROGPT_SET(isa) MICROGPT_JOIN(isa, _set)
#define MICROGPT_TEXT(x) #x
#define MICROGPT_NAME(isa) MICROGPT_TEXT(isa)

namespace microgpt::exact::MICROGPT_ISA {

class ExactEngine final : public Engine {
public:
    ExactEngine(const Config& config, const Shape& shape, const State& state, bool vector_libm)
        : shape_(shape),
          model_(shape, vector_libm),
          adam_(config, shape.parameters, vector_libm),
          vector_libm_(vector_libm),
          parameters_(shape.parameters),
          m_(shape.parameters),
          v_(shape.parameters),
          g_(shape.parameters),
          step_(state.step) {
        copy(state.parameters, parameters_.data());
        copy(state.m, m_.data());
        copy(state.v, v_.data());
    }

    const char* instruction_set() const override { return MICROGPT_NAME(MICROGPT_ISA); }
    Index step() const override { return step_; }
    void copy_state(double* parameters, double* m, double* v) const override {
        copy(parameters_.data(), parameters);
        copy(m_.data(), m);
        copy(v_.data(), v);
    }

    Index steps(const Documents& documents, const Index* batch_sizes, const double* rates,
                Index count, double* losses, End& end, Stop& stop) override {
        Index done = 0, first = 0;
        end = End::done;
        try {
            stop.throw_if_now();
            for (; done < count; first += batch_sizes[done++]) {
                const double loss =
                    batch_gradient(documents, first, batch_sizes[done], g_.data(), stop);
                if (!(loss - loss == 0) || !all_finite(g_.data(), shape_.parameters)) {
                    end = End::diverged;
                    break;
                }
                adam_.update(parameters_.data(), m_.data(), v_.data(), g_.data(), step_,
                             rates[done], stop);
                step_++;
                losses[done] = loss;
            }
        } catch (const Stopped&) {
            end = End::stopped;
        }
        return done;
    }

    double gradients(const Documents& batch, double* gradient, Stop& stop) override {
        stop.throw_if_now();
        return batch_gradient(batch, 0, batch.count, gradient, stop);
    }

    Index log_probabilities(const Documents& documents, double* out, Stop& stop) override {
        Index done = 0;
        try {
            stop.throw_if_now();
            for (; done < documents.count; done++) {
                const Document document = document_of(documents, done);
                model_.forward(parameters_.data(), document, stop);
                for (Index t = 0; t < document.positions; t++) {
                    const double p = model_.probability(t, document.tokens[t + 1]);
                    *out++ = p > 0 ? system_libm.log(p) : -__builtin_inf();
                }
            }
        } catch (const Stopped&) {
        }
        return done;
    }

    void trace(const Documents& documents, double* probabilities, double* attention,
               Stop& stop) override {
        const Document document = document_of(documents, 0);
        stop.throw_if_now();
        model_.forward(parameters_.data(), document, stop);
        Tape& tape = model_.tape();
        for (Index t = 0; t < document.positions; t++)
            for (Index o = 0; o < shape_.vocab_size; o++)
                *probabilities++ = model_.probability(t, o);
        for (Index i = 0; i < shape_.n_layer; i++)
            for (Index h = 0; h < shape_.n_head; h++)
                for (Index t = 0; t < document.positions; t++) {
                    stop.work(8 * t);  // far apart in memory: as slow as so many multiplications
                    for (Index u = 0; u <= t; u++)
                        *attention++ = tape.layer(i).exps[(h * tape.stride + u) * tape.stride + t] *
                                       tape.layer(i).inverses[h * tape.stride + t];
                }
    }

    void generate(const Request& request, Generated& generated, Stop& stop) override {
        PositionReader reader(shape_, parameters_.data(), vector_libm_);
        microgpt::generate(reader, request, shape_.block_size, shape_.vocab_size, generated, stop);
    }

private:
    void copy(const double* from, double* to) const {
        std::memcpy(to, from, sizeof(double) * static_cast<std::size_t>(shape_.parameters));
    }

    Document document_of(const Documents& documents, Index i) const {
        return {documents.tokens + documents.starts[i], documents.length(i) - 1};
    }

    // reference_recipe.batch_loss of documents first ... first + size - 1, and its gradient. The
    // documents' losses add up first to last, their gradients last to first. NaN and no gradient
    // where Python's arithmetic would raise: the logarithm of a probability that has become 0.
    double batch_gradient(const Documents& documents, Index first, Index size, double* g,
                          Stop& stop) {
        const double share = 1.0 / static_cast<double>(size);
        bool defined = true;
        document_losses_.grow(size);
        // What follows wte and wpe is written by the first document, not added to.
        std::memset(g, 0, sizeof(double) * static_cast<std::size_t>(shape_.lm_head));
        for (Index i = size - 1; i >= 0 && defined; i--) {
            const Document document = document_of(documents, first + i);
            model_.forward(parameters_.data(), document, stop);
            document_losses_[i] = model_.document_loss(document);
            defined = document_losses_[i] != __builtin_inf();
            if (defined)
                model_.backward(parameters_.data(), document, share, i == size - 1, g, stop);
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
    Adam adam_;
    const bool vector_libm_;
    Buffer<double> parameters_, m_, v_, g_;
    Buffer<double> document_losses_;
    Index step_;
};

inline Engine* create(const Config& config, const Shape& shape, const State& state,
                      bool vector_libm) {
    return new ExactEngine(config, shape, state, vector_libm);
}

}  // namespace microgpt::exact::MICROGPT_ISA

namespace microgpt::exact {
extern const InstructionSet MICROGPT_SET(MICROGPT_ISA){MICROGPT_NAME(MICROGPT_ISA),
                                                       MICROGPT_ISA::probe, MICROGPT_ISA::create};
}
