// The parts of engine.hpp that need no vectors.
#include "engine.hpp"

#include <chrono>

namespace microgpt {

Engine::~Engine() = default;

Shape Shape::of(Index n_layer, Index n_embd, Index n_head, Index block_size, Index vocab_size) {
    if (n_layer < 1 || n_embd < 1 || n_head < 1 || block_size < 1 || vocab_size < 1)
        throw std::invalid_argument(
            "n_layer, n_embd, n_head, block_size and vocab_size must be at least 1");
    if (n_embd % n_head) throw std::invalid_argument("n_embd must be a multiple of n_head");
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

void Poll::now() {
    last_ = std::chrono::steady_clock::now().time_since_epoch().count();
    stopped_ = stopped_ || ask_(context_);
    if (stopped_) throw Stopped{};
}

void Poll::look_at_clock(bool may_throw) {
    constexpr std::int64_t period = 2'000'000;  // nanoseconds
    left_ = 1'000'000;
    const std::int64_t time = std::chrono::steady_clock::now().time_since_epoch().count();
    if (time - last_ >= period) {
        last_ = time;
        stopped_ = stopped_ || ask_(context_);
    }
    if (stopped_ && may_throw) throw Stopped{};
}

}  // namespace microgpt
