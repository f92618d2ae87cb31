// The fast engine: float32, whole documents at a time, SIMD, threads. Stands for reference.gpt,
// document_loss, backward and adam; within float32's rounding of the definition, not bit-identical
// to it. Knows no Python, reads no files, draws no random numbers. An instruction set's kernels are
// chosen when a model is made; weights and losses do not depend on the number of threads, but do
// (in the last bits) on the instruction set.
//
// Kernels take subnormal numbers, float32 below 2^-126, for zeros, in what they read and in what
// they compute. Moments of units without a gradient decay into that range and stay there, and
// processors take many times longer for them. State goes in and out as it is.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "../engine.hpp"
#include "../floating_point.hpp"
#include "../memory.hpp"
#include "arena.hpp"
#include "layout.hpp"
#include "plan.hpp"
#include "thread_pool.hpp"

namespace microgpt::fast {

// float32 operations a second of one core with these instructions (a product and its sum are two),
// from registers alone: the best of several short runs, in CPU time of the calling thread.
double peak(const std::string& isa);

class Engine final : public microgpt::Engine {
public:
    // threads: the maximum; 0: the engine chooses for each batch. isa: "" for the best that runs
    // here. Throws std::invalid_argument for sizes beyond this engine's.
    Engine(const Config& config, const Shape& shape, const State& state, int threads,
           const std::string& isa);

    const char* instruction_set() const override { return kernels_.name; }
    Index step() const override { return step_; }
    void copy_state(double* parameters, double* m, double* v) const override;
    Index steps(const Documents& documents, const Index* batch_sizes, const double* rates,
                Index count, double* losses, End& end, Stop& stop) override;
    double gradients(const Documents& batch, double* gradient, Stop& stop) override;
    Index log_probabilities(const Documents& documents, double* out, Stop& stop) override;
    void trace(const Documents& document, double* probabilities, double* attention,
               Stop& stop) override;
    void generate(const Request& request, Generated& generated, Stop& stop) override;

private:
    struct Weight {  // where a weight of reference.py is in the packed arrays
        float *weights, *gradient, *m, *v;
        size_t at;
    };
    struct Item {              // a part of a matrix or table that one thread works on
        const Matrix* matrix;  // null: the embeddings
        int first, last;
        int product;  // index into products_ of the matrix's gradient
    };
    struct Section {  // rows first ... last - 1 of a matrix: a matrix of the reference's, which
                      // Muon updates as a whole
        const Matrix* matrix;
        int first, last, longer;  // longer: of its two sides without padding
    };
    struct Product {  // what makes a matrix's gradient: pointers into the rows' arrays
        const Matrix* matrix;
        const float *d_output, *input;
        int d_stride, stride;
    };

    friend class CachedReader;  // generation: score.cpp

    void lay_out();
    int most_rows() const;
    void make_items();
    void make_sections();
    template <class Visit>
    void each_weight(Visit visit) const;
    void pack_forward(const Matrix&) const;

    void reserve(int rows, size_t attention, int longest, bool backward, int threads);
    void place_rows(Arena&, int rows, size_t attention, bool backward);
    void bind_plan();
    int threads_for(std::span<const Tokens> batch) const;
    template <class Work>
    bool in_parallel(int items, int threads, Stop&, Work work);
    bool forward(std::span<const Group> groups, int threads, Stop&);
    double forward_backward(std::span<const Tokens> batch, int threads, Stop&, bool& finite);
    template <class Work>
    bool gradients_in_parallel(int items, int threads, Stop&, bool& finite, Work work);
    bool table_products(std::span<const Tokens> batch, int threads, Stop&);
    bool table_gradients(int threads, Stop&, bool& finite);
    bool weight_gradients(size_t layer, int threads, bool add, Stop&, bool& finite);
    size_t muon_memory() const;
    void update(double rate, int threads, Stop&);
    void add_losses(double& total) const;

    const Config config_;
    const int threads_;
    Model model_{};
    Kernels kernels_{};
    Index count_ = 0;  // parameters
    Index step_ = 0;
    Buffer<float> weights_memory_, rows_memory_, scratch_memory_, table_memory_;
    std::vector<Layer> layers_;
    std::vector<LayerRows> layer_rows_;
    std::vector<Matrix*> matrices_;
    std::vector<Product> products_;
    std::vector<Item> items_;
    std::vector<int>
        layer_items_;  // one past the last of a layer's items; of layers from the last to the first
    int first_qkv_item_ = 0;  // where the first layer's qkv begins, the last of its matrices
    std::vector<Section> sections_;
    std::vector<Scratch> scratch_;
    Rows rows_{};
    int table_rows_ = 0;  // of the embeddings that rows_.table_qkv stands for, if any
    int row_limit_ = 0, reserved_rows_ = 0, reserved_longest_ = 0;
    size_t reserved_attention_ = 0;
    bool reserved_backward_ = false;
    Plan plan_;
    std::unique_ptr<ThreadPool> pool_;
};

// work(item, thread, ticker) for all items; false when it was stopped meanwhile. Thread 0 is the
// caller's: only it asks whether to stop. All kernels run here, and in flushing_mode.
template <class Work>
bool Engine::in_parallel(int items, int threads, Stop& stop, Work work) {
    const auto main_asks = [](void* context) { return static_cast<Stop*>(context)->now(); };
    const auto helper_asks = [](void* context) { return static_cast<Stop*>(context)->stopped(); };
    if (threads > 1 && (!pool_ || pool_->threads() != threads))
        pool_ = std::make_unique<ThreadPool>(threads);
    const auto do_item = [&](int item, int thread) {
        Ticker ticker{thread ? +helper_asks : +main_asks, &stop,
                      thread ? Ticker::kBudget : stop.left, stop.stopped()};
        work(item, thread, ticker);
        if (!thread) stop.left = ticker.left;
    };
    const FloatingPointMode flushing(flushing_mode, standard_mode);  // helpers set their own
    if (threads > 1) {
        pool_->run(items, do_item, [&] { stop.now(); });
    } else {
        for (int item = 0; item < items; item++) do_item(item, 0);
    }
    return !stop.stopped();
}

}  // namespace microgpt::fast
