// The fast engine's steps: memory for a batch's rows, work shared among threads, updates, questions
// whether to stop.
#include "engine.hpp"

#include <algorithm>
#include <cmath>

namespace microgpt::fast {

bool Ticker::asked() {
    left = kBudget;
    if (!stopped) stopped = ask(context);
    return stopped;
}

// ---- Memory -------------------------------------------------------------------------------------

void Engine::place_rows(Arena& arena, int rows, size_t attention, bool backward) {
    // Rows past the last are read as whole vectors, never used.
    const size_t n = static_cast<size_t>(rows) + kPad;
    const auto take = [&](int stride) { return arena.take(times(n, static_cast<size_t>(stride))); };
    const auto take_backward = [&](int stride) { return backward ? take(stride) : nullptr; };
    const int es = model_.embd_stride, as = model_.attn_stride, qs = model_.qkv_stride,
              hs = model_.hidden_stride;
    rows_.embedded = take(es), rows_.scale0 = take(1), rows_.stream = take(es),
    rows_.logits = take(model_.vocab);
    rows_.d_stream[0] = take_backward(es), rows_.d_stream[1] = take_backward(es),
    rows_.d_hidden = take_backward(hs);
    rows_.d_middle = take_backward(es), rows_.d_qkv = take_backward(qs);
    rows_.temporary = take_backward(es), rows_.d_mixed = take_backward(as);
    rows_.sums = take(1);
    for (LayerRows& a : layer_rows_) {
        a.normed1 = take(es), a.scale1 = take(1), a.qkv = take(qs),
        a.attention = arena.take(attention);
        a.mixed = take(as), a.normed2 = take(es), a.scale2 = take(1), a.hidden = take(hs);
    }
}

void Engine::reserve(int rows, size_t attention, int longest, bool backward, int threads) {
    if (rows > reserved_rows_ || attention > reserved_attention_ ||
        (backward && !reserved_backward_)) {
        const int new_rows = std::max(rows, reserved_rows_ + reserved_rows_ / 4);
        const size_t new_attention =
            std::max(attention, reserved_attention_ + reserved_attention_ / 4);
        const bool new_backward = reserved_backward_ || backward;
        reserved_rows_ = 0, reserved_attention_ = 0,
        reserved_backward_ = false;  // until the memory is there
        Arena measure(nullptr);
        place_rows(measure, new_rows, new_attention, new_backward);
        rows_memory_.release();
        rows_memory_.grow(measure.used());
        Arena give(rows_memory_.data());
        place_rows(give, new_rows, new_attention, new_backward);
        make_items();
        reserved_rows_ = new_rows, reserved_attention_ = new_attention,
        reserved_backward_ = new_backward;
    }
    if (longest > reserved_longest_ || static_cast<int>(scratch_.size()) < threads) {
        const int new_longest = std::max(longest, reserved_longest_);
        reserved_longest_ = 0;
        scratch_.resize(std::max(scratch_.size(), static_cast<size_t>(threads)));
        const auto place = [&](Arena& arena) {
            const size_t n = static_cast<size_t>(new_longest),
                         pairs = times(n, 2 * static_cast<size_t>(model_.attn));
            for (Scratch& s : scratch_) {
                s = {arena.take(pairs), arena.take(pairs),
                     arena.take(static_cast<size_t>(model_.head) * kHeads * kQueries),
                     arena.take(times(n + 3, kHeads * kQueries)), arena.take(muon_memory())};
            }
        };
        Arena measure(nullptr);
        place(measure);
        scratch_memory_.release();
        scratch_memory_.grow(measure.used());
        Arena give(scratch_memory_.data());
        place(give);
        reserved_longest_ = new_longest;
    }
}

// The products that give the weight gradients, in the order in which the backward pass comes by,
// and the parts of them, and of the embeddings, that threads take.
void Engine::make_items() {
    const int es = model_.embd_stride, as = model_.attn_stride, qs = model_.qkv_stride,
              hs = model_.hidden_stride;
    constexpr int kItem = 4096;  // weights in a part, about: small, so that threads end together
    products_.clear(), items_.clear(), layer_items_.assign(layers_.size() + 1, 0);
    const auto rows_in_part = [](int width) { return padded(std::max(kItem / width, 1), kPad); };
    const auto product = [&](const Matrix& w, const float* d_output, int d_stride,
                             const float* input, int stride) {
        const int part = rows_in_part(w.in);
        for (int o = 0; o < w.out; o += part) {
            items_.push_back(
                {&w, o, std::min(o + part, w.out), static_cast<int>(products_.size())});
        }
        products_.push_back({&w, d_output, input, d_stride, stride});
    };
    product(model_.lm_head, rows_.logits, model_.vocab, rows_.stream, es);
    for (size_t i = layers_.size(); i-- > 0;) {
        const LayerRows& a = layer_rows_[i];
        product(layers_[i].fc2, rows_.d_stream[(i + 1) % 2], es, a.hidden, hs);
        product(layers_[i].fc1, rows_.d_hidden, hs, a.normed2, es);
        product(layers_[i].wo, rows_.d_middle, es, a.mixed, as);
        first_qkv_item_ = static_cast<int>(items_.size());
        product(layers_[i].qkv, rows_.d_qkv, qs, a.normed1, es);
        layer_items_[i] = static_cast<int>(items_.size());
    }
    const Table& t = model_.embeddings;
    const int part = rows_in_part(model_.embd);
    for (int r = 0; r < t.rows; r += part)
        items_.push_back({nullptr, r, std::min(r + part, t.rows), 0});
}

void Engine::bind_plan() {
    rows_.token = plan_.token.data(), rows_.position = plan_.position.data(),
    rows_.weight = plan_.weight.data();
    rows_.entry_row = plan_.entry_row.data(), rows_.entry_target = plan_.entry_target.data();
    rows_.entry_weight = plan_.entry_weight.data(),
    rows_.entry_log_probability = plan_.entry_log_probability.data();
    rows_.documents = plan_.documents.data();
}

// ---- Work ---------------------------------------------------------------------------------------

// Threads for a step over these documents: helpers cost some microseconds a step and must earn
// them, and no more of them can help than there are groups. (benchmarks/threads.py)
int Engine::threads_for(std::span<const Tokens> batch) const {
    if (threads_) return threads_;
    size_t positions = 0;
    for (const Tokens& tokens : batch)
        positions += static_cast<size_t>(Plan::length(tokens, model_.block_size));
    const size_t groups = Plan::groups_of(batch.size(), positions);
    const double work =
        3.0 * static_cast<double>(positions) * static_cast<double>(count_);  // multiply-adds, about
    constexpr double kWorthHelpers = 5e6;
    if (work < kWorthHelpers) return 1;
    const size_t cores = std::clamp(std::thread::hardware_concurrency(), 1U, 64U);
    return static_cast<int>(std::min(cores, groups));
}

// Activations and logits of these groups, a layer of all after the other, so that its weights stay
// in the cache. False when stopped.
bool Engine::forward(std::span<const Group> groups, int threads, Stop& stop) {
    for (int layer = 0; layer < model_.n_layer; layer++) {
        const bool done = in_parallel(
            static_cast<int>(groups.size()), threads, stop, [&](int i, int thread, Ticker& ticker) {
                if (ticker.stopped) return;
                kernels_.layer_forward(model_, rows_, groups[static_cast<size_t>(i)], layer,
                                       scratch_[static_cast<size_t>(thread)], ticker);
            });
        if (!done) return false;
    }
    return true;
}

// The mean losses of the documents in plan_, added to `total` one after the other: no bit depends
// on the portions.
void Engine::add_losses(double& total) const {
    const float* log_probability = plan_.entry_log_probability.data();
    for (const Document& d : plan_.documents) {
        double document = 0.0;
        for (int t = 0; t < d.positions; t++) document -= *log_probability++;
        total += document / d.positions;
    }
}

constexpr int kStrip =
    64;  // columns of the gradient by the embeddings that one thread adds up at a time
constexpr int kTableRows = 32;  // of the embeddings that one thread multiplies at a time

static int parts(int whole, int part) { return (whole + part - 1) / part; }

// As in_parallel, where work answers whether what it made is finite.
template <class Work>
bool Engine::gradients_in_parallel(int items, int threads, Stop& stop, bool& finite, Work work) {
    std::atomic<bool> all_finite{true};
    const bool done = in_parallel(items, threads, stop, [&](int i, int, Ticker& ticker) {
        if (!ticker.stopped && !work(i, ticker)) all_finite.store(false, std::memory_order_relaxed);
    });
    if (!all_finite.load(std::memory_order_relaxed)) finite = false;
    return done;
}

// The gradients of a layer's weights from the rows in hand, of lm_head's with the last layer's, of
// the embeddings' with the first's; added to those of the batch's earlier rows if `add`. False when
// stopped.
bool Engine::weight_gradients(size_t layer, int threads, bool add, Stop& stop, bool& finite) {
    const bool tables = layer == 0 && rows_.table_qkv;
    const int rows = plan_.rows(), embd = model_.embd, width = 3 * model_.attn;
    const int input_strips = layer == 0 ? parts(embd, kStrip) : 0;
    const int strips = input_strips + (tables ? parts(width, kStrip) : 0);
    const int first_item = layer_items_[layer + 1],
              last_item = tables ? first_qkv_item_ : layer_items_[layer];
    const auto strip = [&](const Table& t, const float* d, int stride, int columns, int number) {
        const int first = number * kStrip, last = std::min(first + kStrip, columns);
        return kernels_.table_gradient(model_, rows_, t, d, stride, rows, first, last, add);
    };
    const Table by_qkv{nullptr, rows_.d_table_qkv, nullptr,
                       nullptr, table_rows_,       model_.qkv_stride};
    const auto work = [&](int i, Ticker& ticker) {
        if (i < input_strips)
            return strip(model_.embeddings, rows_.d_stream[0], model_.embd_stride, embd, i);
        if (i < strips)
            return strip(by_qkv, rows_.d_qkv, model_.qkv_stride, width, i - input_strips);
        const Item& item = items_[static_cast<size_t>(first_item + i - strips)];
        const Product& p = products_[static_cast<size_t>(item.product)];
        return kernels_.gradient(*item.matrix, p.d_output, p.d_stride, p.input, p.stride, rows,
                                 item.first, item.last, add, ticker);
    };
    return gradients_in_parallel(strips + last_item - first_item, threads, stop, finite, work);
}

// A batch with more than twice as many positions as the embeddings have rows in use (of all tokens,
// and of the positions up to its longest document's) has the first layer's products made of those
// rows. Depends on the batch alone.
bool Engine::table_products(std::span<const Tokens> batch, int threads, Stop& stop) {
    size_t positions = 0;
    int longest = 0;
    for (const Tokens& tokens : batch) {
        const int length = Plan::length(tokens, model_.block_size);
        positions += static_cast<size_t>(length), longest = std::max(longest, length);
    }
    table_rows_ = model_.vocab_size + longest;
    if (positions <= 2 * static_cast<size_t>(table_rows_)) return true;
    const Index floats = times(table_rows_, model_.qkv_stride);
    if (2 * floats > table_memory_.size())  // by half at least, so that it seldom grows
        table_memory_.grow(std::max(2 * floats, table_memory_.size() * 3 / 2));
    rows_.table_qkv = table_memory_.data();
    rows_.d_table_qkv = rows_.table_qkv + floats;
    return in_parallel(
        parts(table_rows_, kTableRows), threads, stop, [&](int i, int, Ticker& ticker) {
            const int first = i * kTableRows, last = std::min(first + kTableRows, table_rows_);
            if (!ticker.stopped) kernels_.table_products(model_, rows_, first, last, ticker);
        });
}

// What the gradients by those products give to the embeddings and to the first layer's weights.
bool Engine::table_gradients(int threads, Stop& stop, bool& finite) {
    if (!rows_.table_qkv) return true;
    const int table_parts = parts(table_rows_, kTableRows),
              items = layer_items_[0] - first_qkv_item_;
    return gradients_in_parallel(
        table_parts + items, threads, stop, finite, [&](int i, Ticker& ticker) {
            if (i < table_parts) {
                const int first = i * kTableRows, last = std::min(first + kTableRows, table_rows_);
                return kernels_.table_products_backward(model_, rows_, first, last, ticker);
            }
            const Item& item = items_[static_cast<size_t>(first_qkv_item_ + i - table_parts)];
            return kernels_.gradient(*item.matrix, rows_.d_table_qkv, model_.qkv_stride,
                                     model_.embeddings.weights, model_.embd, table_rows_,
                                     item.first, item.last, false, ticker);
        });
}

// Loss and gradients of a batch; throws Stopped. A batch goes in portions whose rows stay
// within bounds; the backward pass through a portion layer by layer, whose gradients by activations
// are used while they are in the cache.
double Engine::forward_backward(std::span<const Tokens> batch, int threads, Stop& stop,
                                bool& finite) {
    struct AtTheEnd {  // what is asked later goes without
        Rows& rows;
        ~AtTheEnd() { rows.table_qkv = nullptr; }
    } at_the_end{rows_};
    double loss = 0.0;
    finite = true;
    if (!table_products(batch, threads, stop)) throw Stopped{};
    for (size_t first = 0; first < batch.size();) {
        const bool add = first > 0;
        first = plan_.fill(batch, first, batch.size(), model_.block_size, model_.n_head,
                           row_limit_ * threads);
        reserve(plan_.rows(), plan_.attention, plan_.longest, true, threads);
        bind_plan();
        if (!forward(plan_.groups, threads, stop)) throw Stopped{};
        const int groups = static_cast<int>(plan_.groups.size());
        for (int layer = model_.n_layer; layer-- > 0;) {
            const bool done =
                in_parallel(groups, threads, stop, [&](int i, int thread, Ticker& ticker) {
                    const Group& g = plan_.groups[static_cast<size_t>(i)];
                    Scratch& scratch = scratch_[static_cast<size_t>(thread)];
                    const bool last = layer + 1 == model_.n_layer;
                    if (last && !ticker.stopped) kernels_.output_backward(model_, rows_, g, ticker);
                    if (!ticker.stopped)
                        kernels_.layer_backward(model_, rows_, g, layer, scratch, ticker);
                });
            if (!done || !weight_gradients(static_cast<size_t>(layer), threads, add, stop, finite))
                throw Stopped{};
        }
        add_losses(loss);
    }
    if (!table_gradients(threads, stop, finite)) throw Stopped{};
    return loss / static_cast<double>(batch.size());
}

// Adam (Kingma and Ba 2015, algorithm 1), and Muon where it is asked for. Asks about stopping go
// on, but an update once begun is finished.
void Engine::update(double rate, int threads, Stop& stop) {
    const double t = static_cast<double>(step_ + 1), correction1 = 1.0 - std::pow(config_.beta1, t);
    const double correction2 = std::sqrt(1.0 - std::pow(config_.beta2, t));
    Update u{};
    u.beta1 = static_cast<float>(config_.beta1), u.beta2 = static_cast<float>(config_.beta2);
    u.rate = static_cast<float>(rate * correction2 / correction1);
    // At least 2^-63, the square root of the smallest v that is not flushed to zero: where v is
    // zero the quotient stays small.
    u.eps = std::max(static_cast<float>(config_.eps_adam * correction2), 0x1p-63f);
    u.keep = static_cast<float>(1.0 - rate * config_.weight_decay);
    const int sections = static_cast<int>(sections_.size());
    in_parallel(
        sections + static_cast<int>(items_.size()), threads, stop,
        [&](int i, int thread, Ticker& ticker) {
            if (i < sections) {
                const Section& s = sections_[static_cast<size_t>(i)];
                const double length =
                    0.2 * std::sqrt(s.longer);  // Adam's usual step (Liu et al. 2025, section 2.2)
                const MuonUpdate m{static_cast<float>(config_.muon),
                                   static_cast<float>(rate * length), u.keep};
                kernels_.muon(*s.matrix, s.first, s.last, m,
                              scratch_[static_cast<size_t>(thread)].muon);
                return;
            }
            const Item& item = items_[static_cast<size_t>(i - sections)];
            if (item.matrix && sections && item.matrix != &model_.lm_head) return;
            if (item.matrix) {
                kernels_.update_matrix(*item.matrix, item.first, item.last, u, ticker);
            } else {
                kernels_.update_table(model_.embeddings, item.first, item.last, u, ticker);
            }
        });
    step_++;
}

Index Engine::steps(const Documents& documents, const Index* batch_sizes, const double* rates,
                    Index count, double* losses, End& end, Stop& stop) {
    struct AtTheEnd {  // also after an exception: no idle threads between calls, and inputs are
                       // hidden in updates alone
        std::unique_ptr<ThreadPool>& pool;
        Plan& plan;
        ~AtTheEnd() { pool.reset(), plan.input_dropout = 0.0; }
    } at_the_end{pool_, plan_};
    plan_.input_dropout = config_.input_dropout;
    end = End::done;
    std::vector<Tokens> batch;
    Index done = 0;
    try {
        for (Index first = 0; done < count; first += batch_sizes[done++]) {
            stop.throw_if_now();
            view(documents, first, first + batch_sizes[done], batch);
            const int threads = threads_for(batch);
            plan_.update = step_;
            bool finite = true;
            const double loss = forward_backward(batch, threads, stop, finite);
            if (!finite || !std::isfinite(loss)) {
                end = End::diverged;
                break;
            }
            update(rates[done], threads, stop);
            losses[done] = loss;
        }
    } catch (const Stopped&) {
        end = End::stopped;
    }
    return done;
}

}  // namespace microgpt::fast
