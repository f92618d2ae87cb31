// The sizes of a model, and arithmetic on sizes that notices overflow.
#pragma once

#include <cstdint>
#include <stdexcept>

// Code for one instruction set must not leave functions behind that other code could be linked
// with. So a function that it shares with the rest is always inlined, or defined in a .cpp file.
#define MICROGPT_INLINE inline __attribute__((always_inline))

namespace microgpt {

using Index = std::int64_t;

// x * y and x + y; std::overflow_error where the result does not fit.
MICROGPT_INLINE Index times(Index x, Index y) {
    Index product;
    if (__builtin_mul_overflow(x, y, &product))
        throw std::overflow_error("the model's sizes overflow 64 bits");
    return product;
}
MICROGPT_INLINE Index plus(Index x, Index y) {
    Index sum;
    if (__builtin_add_overflow(x, y, &sum))
        throw std::overflow_error("the model's sizes overflow 64 bits");
    return sum;
}

struct Config;

// Sizes, and where each matrix starts in the flat list of parameters: `reference.shapes`.
struct Shape {
    Index n_layer, n_embd, n_head, block_size, vocab_size;
    Index head_dim, hidden;          // n_embd / n_head, 4 * n_embd
    Index wte, wpe, lm_head;         // offsets
    Index layers, layer_size;        // offset of layer 0, and parameters in a layer
    Index wq, wk, wv, wo, fc1, fc2;  // offsets within a layer
    Index parameters;                // how many in all

    // Throws std::invalid_argument for a size below 1 or an n_embd that n_head does not divide,
    // std::overflow_error for sizes that no memory holds.
    static Shape of(const Config& config, Index vocab_size);
};

}  // namespace microgpt
