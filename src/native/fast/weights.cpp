// The fast engine's weights: sizes, padding, packing, and the way to float64 and back.
#include <algorithm>
#include <cmath>
#include <ctime>
#include <limits>

#include "../cpu.hpp"
#include "engine.hpp"

namespace microgpt::fast {

Kernels kernels_baseline(const Model&);
#ifdef MICROGPT_AVX2
Kernels kernels_avx2(const Model&);
#endif
#ifdef MICROGPT_AVX512
Kernels kernels_avx512(const Model&);
#endif

namespace {

Kernels kernels_named(const std::string& isa, const Model& model) {
    const std::string name = choose_instruction_set(isa);
#ifdef MICROGPT_AVX512
    if (name == "avx512") return kernels_avx512(model);
#endif
#ifdef MICROGPT_AVX2
    if (name == "avx2") return kernels_avx2(model);
#endif
    return kernels_baseline(model);
}

double thread_seconds() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

float to_float(double x) {
    return std::isnan(x) ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(x);
}

// Widths and counts are `int` in the kernels.
void check(const Config& c, const Shape& s, int threads) {
    if (s.n_embd > 1 << 20 || s.vocab_size > 1 << 24 || s.block_size > 1 << 24 ||
        s.n_layer > 1 << 16)
        throw std::invalid_argument("the model's sizes are beyond the fast engine's");
    if (threads < 0 || threads > 64) throw std::invalid_argument("threads must be from 0 to 64");
    if (!(c.weight_decay >= 0.0) || !(c.muon >= 0.0 && c.muon < 1.0) ||
        !(c.input_dropout >= 0.0 && c.input_dropout < 1.0))
        throw std::invalid_argument(
            "weight_decay, muon and input_dropout are at least 0, the last two below 1");
}

}  // namespace

double peak(const std::string& isa) {
    const Kernels kernels = kernels_named(isa, Model{});
    double best = 0.0;
    for (int run = 0; run < 25; run++) {
        double operations = 0.0;
        const double began = thread_seconds();
        volatile double sum = kernels.multiply_add(200'000, operations);
        const double seconds = thread_seconds() - began;
        (void)sum;
        best = std::max(best, operations / seconds);
    }
    return best;
}

Engine::Engine(const Config& config, const Shape& shape, const State& state, int threads,
               const std::string& isa)
    : config_(config), threads_(threads), count_(shape.parameters), step_(state.step) {
    check(config, shape, threads);
    const int n_layer = static_cast<int>(shape.n_layer), n_embd = static_cast<int>(shape.n_embd),
              n_head = static_cast<int>(shape.n_head), head_dim = n_embd / n_head,
              block_size = static_cast<int>(shape.block_size),
              vocab_size = static_cast<int>(shape.vocab_size);
    const int head = padded(head_dim, 4), embd = padded(n_embd, kPad),
              attn = padded(n_head * head, kPad), hidden = padded(4 * n_embd, kPad),
              vocab = padded(vocab_size, kPad);
    model_ = Model{n_layer,
                   n_head,
                   n_embd,
                   head_dim,
                   vocab_size,
                   block_size,
                   embd,
                   head,
                   attn,
                   hidden,
                   vocab,
                   stride_for(embd),
                   stride_for(attn),
                   stride_for(3 * attn),
                   stride_for(hidden),
                   {},
                   {},
                   nullptr};
    kernels_ = kernels_named(isa, model_);
    lay_out();
    make_sections();
    plan_.mark = vocab_size - 1;
    row_limit_ = most_rows();
    size_t k = 0;
    each_weight([&](const Weight& w) {
        w.weights[w.at] = to_float(state.parameters[k]);
        w.m[w.at] = to_float(state.m[k]), w.v[w.at] = to_float(state.v[k]);
        k++;
    });
    for (const Matrix* matrix : matrices_) pack_forward(*matrix);
}

void Engine::lay_out() {
    layers_.resize(static_cast<size_t>(model_.n_layer));
    layer_rows_.resize(layers_.size());
    model_.layers = layers_.data();
    rows_.layers = layer_rows_.data();
    const auto place = [&](Arena& arena) {
        const int rows = model_.vocab_size + model_.block_size;
        const size_t table = times(static_cast<size_t>(rows), static_cast<size_t>(model_.embd));
        model_.embeddings = {
            arena.take(table), arena.take(table), arena.take(table), arena.take(table), rows,
            model_.embd};
        const auto matrix = [&](Matrix& w, int out, int in) {
            const size_t size = times(static_cast<size_t>(out), static_cast<size_t>(in));
            w = {arena.take(size),
                 arena.take(size),
                 arena.take(size),
                 arena.take(size),
                 arena.take(size),
                 out,
                 in};
        };
        matrix(model_.lm_head, model_.vocab, model_.embd);
        for (Layer& layer : layers_) {
            matrix(layer.qkv, 3 * model_.attn, model_.embd),
                matrix(layer.wo, model_.embd, model_.attn);
            matrix(layer.fc1, model_.hidden, model_.embd),
                matrix(layer.fc2, model_.embd, model_.hidden);
        }
    };
    Arena measure(nullptr);
    place(measure);
    weights_memory_.grow(measure.used());
    Arena give(weights_memory_.data());
    place(give);
    matrices_.push_back(&model_.lm_head);
    for (Layer& layer : layers_) {
        for (Matrix* w : {&layer.fc2, &layer.fc1, &layer.wo, &layer.qkv}) matrices_.push_back(w);
    }
}

// The largest first, so that threads end together.
void Engine::make_sections() {
    if (config_.muon == 0.0) return;
    const int n = model_.n_embd;
    for (const Layer& layer : layers_) {
        for (const Matrix* w : {&layer.fc1, &layer.fc2}) sections_.push_back({w, 0, w->out, 4 * n});
    }
    for (const Layer& layer : layers_) {
        for (int i = 0; i < 3; i++)
            sections_.push_back({&layer.qkv, i * model_.attn, (i + 1) * model_.attn, n});
        sections_.push_back({&layer.wo, 0, layer.wo.out, n});
    }
}

// Floats of a thread's memory for Muon.
size_t Engine::muon_memory() const {
    size_t most = 0;
    for (const Section& s : sections_)
        most = std::max(most, muon_floats(s.last - s.first, s.matrix->in));
    return most;
}

// Rows that a portion of a batch may have for each thread, whatever the batch: their activations,
// about 8 MB, stay in a core's share of the outer cache. Sums go over the rows in order, so that
// portions change no bit.
int Engine::most_rows() const {
    constexpr size_t kFloats = 2u << 20;
    const size_t layer =
        2u * model_.embd_stride + model_.attn_stride + model_.qkv_stride + model_.hidden_stride;
    const size_t row = layer * (layers_.size() + 1) + 4u * model_.embd_stride + model_.vocab;
    return static_cast<int>(std::clamp<size_t>(kFloats / row, 256, 1u << 20));
}

// All weights in the order of reference.shapes, row by row.
template <class Visit>
void Engine::each_weight(Visit visit) const {
    const int n = model_.n_embd, head_dim = model_.head_dim, lanes = kernels_.lanes;
    const auto headed = [&](int i) { return i / head_dim * model_.head + i % head_dim; };
    const auto same = [](int i) { return i; };
    const auto matrix = [&](const Matrix& w, int rows, int columns, int first, auto row_at,
                            auto column_at) {
        for (int row = 0; row < rows; row++) {
            for (int j = 0; j < columns; j++) {
                const size_t o = size_t(first) + size_t(row_at(row)), i = size_t(column_at(j));
                visit(Weight{w.backward, w.gradient, w.m, w.v,
                             (i / lanes * w.out + o) * lanes + i % lanes});
            }
        }
    };
    const Table& t = model_.embeddings;
    for (int row = 0; row < t.rows; row++) {
        for (int j = 0; j < n; j++) {
            visit(
                Weight{t.weights, t.gradient, t.m, t.v, static_cast<size_t>(row) * t.columns + j});
        }
    }
    matrix(model_.lm_head, model_.vocab_size, n, 0, same, same);
    for (const Layer& layer : layers_) {
        for (int section = 0; section < 3; section++)
            matrix(layer.qkv, n, n, section * model_.attn, headed, same);
        matrix(layer.wo, n, n, 0, same, headed);
        matrix(layer.fc1, 4 * n, n, 0, same, same);
        matrix(layer.fc2, n, 4 * n, 0, same, same);
    }
}

void Engine::pack_forward(const Matrix& w) const {
    const size_t lanes = static_cast<size_t>(kernels_.lanes), in = static_cast<size_t>(w.in),
                 out = static_cast<size_t>(w.out);
    for (size_t o = 0; o < out; o++) {
        for (size_t i = 0; i < in; i++) {
            w.forward[(o / lanes * in + i) * lanes + o % lanes] =
                w.backward[(i / lanes * out + o) * lanes + i % lanes];
        }
    }
}

void Engine::copy_state(double* parameters, double* m, double* v) const {
    size_t k = 0;
    each_weight([&](const Weight& w) {
        parameters[k] = w.weights[w.at], m[k] = w.m[w.at], v[k] = w.v[w.at];
        k++;
    });
}

double Engine::gradients(const Documents& documents, double* gradient, Stop& stop) {
    stop.throw_if_now();
    std::vector<Tokens> batch;
    view(documents, 0, documents.count, batch);
    bool finite;
    const double loss = forward_backward(batch, threads_for(batch), stop, finite);
    each_weight([&](const Weight& w) { *gradient++ = w.gradient[w.at]; });
    return loss;
}

}  // namespace microgpt::fast
