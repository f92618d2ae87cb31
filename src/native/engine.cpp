#include "engine.hpp"

namespace microgpt {

Engine::~Engine() = default;

Shape Shape::of(const Config& config, Index vocab_size) {
    const Index n_layer = config.n_layer, n_embd = config.n_embd, n_head = config.n_head,
                block_size = config.block_size;
    if (n_layer < 1 || n_embd < 1 || n_head < 1 || block_size < 1 || vocab_size < 1)
        throw std::invalid_argument(
            "n_layer, n_embd, n_head, block_size and vocab_size must be at least 1");
    if (n_embd % n_head) throw std::invalid_argument("n_embd must be a multiple of n_head");
    if (vocab_size > INT32_MAX)
        throw std::overflow_error("the vocabulary has more than 2^31 - 1 tokens");
    Shape s{};
    s.n_layer = n_layer, s.n_embd = n_embd, s.n_head = n_head, s.block_size = block_size,
    s.vocab_size = vocab_size;
    s.head_dim = n_embd / n_head;
    s.hidden = times(4, n_embd);
    const Index square = times(n_embd, n_embd);
    s.wte = 0;
    s.wpe = times(vocab_size, n_embd);
    s.lm_head = plus(s.wpe, times(block_size, n_embd));
    s.layers = plus(s.lm_head, times(vocab_size, n_embd));
    s.layer_size = times(12, square);
    s.wq = 0, s.wk = square, s.wv = 2 * square, s.wo = 3 * square, s.fc1 = 4 * square,
    s.fc2 = 8 * square;
    s.parameters = plus(s.layers, times(n_layer, s.layer_size));
    times(s.parameters, 64);  // a few arrays of them, in bytes, must be countable too
    times(times(block_size, 64),
          plus(plus(times(16, n_embd), vocab_size), times(n_head, block_size)));
    return s;
}

}  // namespace microgpt
