// What an engine is to the rest of the module: one model, its state, and five kinds of work on it.
// Knows neither Python nor an instruction set. `exact/` and `fast/` implement it.
#pragma once

#include <cstdint>

#include "sampling.hpp"
#include "shape.hpp"
#include "stop.hpp"

namespace microgpt {

// The fields of `microgpt.config.Config` that an engine reads, under the same names.
struct Config {
    Index n_layer, n_embd, n_head, block_size;
    double beta1, beta2, eps_adam;
    double weight_decay, input_dropout, muon;  // 0, 0 and 0: the update is reference.adam
};

// A model in training: weights and moments, each of `Shape::parameters` numbers in the order of
// `reference.shapes`, and the number of updates so far.
struct State {
    const double *parameters, *m, *v;
    Index step;
};

// Documents as one flat list: document i is tokens[starts[i] .. starts[i + 1]), its end token
// included. Every token is within the vocabulary; a document has 2 to block_size + 1 tokens.
struct Documents {
    const std::int32_t* tokens;
    const Index* starts;
    Index count;
    Index length(Index i) const { return starts[i + 1] - starts[i]; }
};

// Why `Engine::steps` returned. diverged: a loss or the square of a gradient is not finite.
enum class End { done, stopped, diverged };

// One model. The caller has checked the arguments and keeps other threads out.
// Where `stop` answers yes, steps, log_probabilities and generate return what is finished; the
// others throw Stopped. Work under way leaves no trace.
class Engine {
public:
    virtual ~Engine();

    virtual const char* instruction_set() const = 0;
    virtual Index step() const = 0;
    virtual void copy_state(double* parameters, double* m, double* v) const = 0;

    // One update for each batch: update i takes the next batch_sizes[i] documents, at learning
    // rate rates[i]. Writes a loss for each update made, and returns how many there are.
    virtual Index steps(const Documents& documents, const Index* batch_sizes, const double* rates,
                        Index count, double* losses, End& end, Stop& stop) = 0;

    // Mean loss of a batch in nats, and its gradient by every parameter.
    virtual double gradients(const Documents& batch, double* gradient, Stop& stop) = 0;

    // log p of each token after the first, one document after the other: length - 1 numbers each.
    // Returns for how many documents.
    virtual Index log_probabilities(const Documents& documents, double* out, Stop& stop) = 0;

    // For one document of n + 1 tokens: probabilities[n][vocab_size] of the next token, and
    // attention[n_layer][n_head][position][0 ... position], each row as long as position + 1.
    virtual void trace(const Documents& document, double* probabilities, double* attention,
                       Stop& stop) = 0;

    virtual void generate(const Request& request, Generated& generated, Stop& stop) = 0;
};

}  // namespace microgpt
