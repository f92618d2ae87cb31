// What the exact engine is to the world: sizes, the stop question and the calls of one model. Knows
// neither Python nor an instruction set; each instruction set implements `Engine` in its own
// namespace.
#pragma once

#include <cstdint>
#include <stdexcept>

namespace microgpt {

using Index = std::int64_t;

// Multiplication and addition of sizes: std::overflow_error where the result does not fit.
inline Index times(Index x, Index y) {
    Index product;
    if (__builtin_mul_overflow(x, y, &product))
        throw std::overflow_error("the model's sizes overflow 64 bits");
    return product;
}
inline Index plus(Index x, Index y) {
    Index sum;
    if (__builtin_add_overflow(x, y, &sum))
        throw std::overflow_error("the model's sizes overflow 64 bits");
    return sum;
}

// The sizes of a model, and where its matrices start in the flat list of parameters:
// `reference.shapes`.
struct Shape {
    Index n_layer, n_embd, n_head, block_size, vocab_size;
    Index head_dim, hidden;          // n_embd / n_head, 4 * n_embd
    Index wte, wpe, lm_head;         // offsets
    Index layers, layer_size;        // offset of layer 0, and parameters in a layer
    Index wq, wk, wv, wo, fc1, fc2;  // offsets within a layer
    Index parameters;                // how many in all

    // Throws std::invalid_argument for a size below 1 or an n_embd that n_head does not divide.
    static Shape of(Index n_layer, Index n_embd, Index n_head, Index block_size, Index vocab_size);
};

// Hyper-parameters of `reference.adam`.
struct AdamSettings {
    double beta1, beta2, eps;
};

// Asks the caller now and then whether to give up. Kernels report their work; the clock is read
// about every million multiplications, the question put when 2 ms have passed. Throws Stopped at a
// yes.
struct Stopped {};

class Poll {
public:
    using Ask = bool (*)(void* context);
    Poll(Ask ask, void* context) : ask_(ask), context_(context) {}
    void now();              // puts the question at once
    void work(Index done) {  // done: multiplications since the last report
        if ((left_ -= done) < 0) look_at_clock(true);
    }
    // The same where work must be finished first: a yes is kept for the next call of work or now.
    void work_uninterrupted(Index done) {
        if ((left_ -= done) < 0) look_at_clock(false);
    }

private:
    void look_at_clock(bool may_throw);
    Ask ask_;
    void* context_;
    Index left_ = 1'000'000;
    std::int64_t last_ =
        0;  // nanoseconds on the steady clock when the question was last put; 0: not yet
    bool stopped_ = false;
};

// Documents as one flat list: document i is tokens[starts[i] .. starts[i + 1]), BOS at both ends.
// Token ids were checked; documents are cut to block_size + 1 tokens.
struct Documents {
    const std::int32_t* tokens;
    const Index* starts;
    Index count;
    Index length(Index i) const { return starts[i + 1] - starts[i]; }
};

struct Sampling {
    double temperature;
    Index top_k;   // 0: all
    double top_p;  // 1.0: all
};

enum class End { done, stopped, diverged };

// One model. Arguments were checked by the caller; not for two threads at a time.
class Engine {
public:
    virtual ~Engine();
    // reference.adam after the gradient of each batch. batch_sizes[i] documents make step i; losses
    // takes one number a step applied; returns how many, and why it ended.
    virtual Index steps(const Documents& documents, const Index* batch_sizes, const double* rates,
                        Index count, double* losses, End& end, Poll& poll) = 0;
    // Loss of a batch and its gradient by every parameter.
    virtual double gradients(const Documents& batch, double* gradient, Poll& poll) = 0;
    // log p of each token after the first, documents one after the other; returns how many
    // documents.
    virtual Index log_probabilities(const Documents& documents, double* found, Poll& poll) = 0;
    // probabilities[position][token]; attention[layer][head][position][earlier position], rows
    // packed.
    virtual void trace(const Documents& document, double* probabilities, double* attention,
                       Poll& poll) = 0;
    // `Engine.generate` of the contract. start: 1 + prefix_length tokens. tokens: room for count *
    // prefix_length + coin_count; lengths: for count.
    virtual Index generate(Index count, const double* coins, Index coin_count,
                           const std::int32_t* start, Index prefix_length, const Sampling& sampling,
                           std::int32_t* tokens, Index* lengths, Index& coins_used, Poll& poll) = 0;

    virtual const double* parameters() const = 0;
    virtual const double* m() const = 0;
    virtual const double* v() const = 0;
    virtual Index step() const = 0;
};

// exp, log and pow of the C library this process runs, as the compiler must not know them.
struct SystemLibm {
    double (*exp)(double);
    double (*log)(double);
    double (*pow)(double, double);
};

// One instruction set's implementation. vector_libm: what `probe` has found.
struct InstructionSet {
    const char* name;
    bool (*runs_here)();
    bool (*probe)();  // do the vector forms of exp, pow, x*x and sqrt(x) equal the C library's, on
                      // some thousand values?
    Engine* (*create)(const Shape&, const AdamSettings&, const double* parameters, const double* m,
                      const double* v, Index step, bool vector_libm);
};

extern const InstructionSet baseline_set;
extern const InstructionSet avx2_set;
extern const InstructionSet avx512_set;

}  // namespace microgpt
