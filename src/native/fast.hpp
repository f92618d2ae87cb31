// The fast engine: float32, whole documents at a time, SIMD, threads. Stands for reference.gpt,
// document_loss, backward and adam; within float32's rounding of the definition, not bit-identical
// to it. Knows no Python, reads no files, draws no random numbers. An instruction set's kernels are
// chosen when a model is made; weights and losses do not depend on the number of threads, but do
// (in the last bits) on the instruction set.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fast_layout.hpp"
#include "fast_memory.hpp"
#include "fast_plan.hpp"
#include "fast_threads.hpp"

namespace microgpt::fast {

struct Settings {
    int n_layer, n_head, n_embd, block_size, vocab_size;
    double beta1, beta2, eps_adam;
    double weight_decay;       // AdamW's, a share of the learning rate
    double input_dropout;      // share of the inputs that an update hides
    double muon;               // momentum of Muon for the layers' matrices; 0: Adam for all
    int threads;               // 0: as many as pay
    std::string instructions;  // name of the kernels; empty: the best that this machine runs
};

// Names of the kernels that this machine runs, best first.
std::vector<std::string> instruction_sets();

// float32 operations a second of one core with these instructions (a product and its sum are two),
// from registers alone: the best of several short runs, in CPU time of the calling thread.
double peak(const std::string& instructions);

// Asks its owner every few milliseconds whether to stop.
class Stop {
public:
    Stop(bool (*ask)(void*), void* context) : ask_(ask), context_(context) {}
    bool now();  // looks at the clock; asks when it is time. Once true, always true.
    bool stopped() const { return stopped_.load(std::memory_order_relaxed); }

    long left =
        Ticker::kBudget;  // multiply-adds of the calling thread until the next look at the clock

private:
    bool (*ask_)(void*);
    void* context_;
    std::chrono::steady_clock::time_point last_{};
    std::atomic<bool> stopped_{false};
};

enum class End {
    done,
    stopped,
    diverged
};  // diverged: a loss or a sum of squares of gradients is not finite

class Engine {
public:
    // State: float64 numbers in the order of reference.shapes; `count` of each.
    Engine(const Settings&, const double* parameters, const double* m, const double* v,
           size_t count, int64_t step);

    size_t parameter_count() const { return count_; }
    int64_t step() const { return step_; }
    const Settings& settings() const { return settings_; }
    const char* instructions() const { return kernels_.name; }
    void state(double* parameters, double* m, double* v) const;

    // One update for each batch, its documents' mean loss added to `losses`.
    End steps(std::span<const std::vector<Tokens>> batches, std::span<const double> rates, Stop&,
              std::vector<double>& losses);
    // Loss of a batch and its gradient by every parameter. Answers whether it finished.
    bool gradients(std::span<const Tokens> batch, double& loss, double* gradient, Stop&);
    // log p of each token after the first; documents from the one where it was stopped on are left
    // out.
    std::vector<std::vector<float>> log_probabilities(std::span<const Tokens> documents, Stop&);
    // Probabilities [position][token] and attention [layer][head][position][0 ... position], one
    // after the other.
    bool trace(Tokens tokens, std::vector<double>& probabilities, std::vector<double>& attention,
               Stop&);

    struct Sampling {
        double temperature;
        int64_t top_k;
        double top_p;
    };
    // As Engine.generate of the contract. Answers the coins used.
    size_t generate(size_t count, std::span<const double> coins, Tokens start, const Sampling&,
                    Stop&, std::vector<std::vector<int32_t>>& documents);

private:
    struct Weight {  // where a logical weight stands in the padded arrays
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

    void lay_out();
    int most_rows() const;
    void make_items();
    void make_sections();
    template <class Visit>
    void each_weight(Visit visit) const;
    void pack_forward(const Matrix&) const;

    const float* next_logits(Document&, int row, Stop&);
    void reserve(int rows, size_t attention, int longest, bool backward, int threads);
    void carve_rows(Carver&, int rows, size_t attention, bool backward);
    void bind_plan();
    int threads_for(std::span<const Tokens> batch) const;
    template <class Work>
    bool in_parallel(int items, int threads, Stop&, Work work);
    bool forward(std::span<const Group> groups, int threads, Stop&);
    bool forward_backward(std::span<const Tokens> batch, int threads, Stop&, double& loss,
                          bool& finite);
    template <class Work>
    bool gradients_in_parallel(int items, int threads, Stop&, bool& finite, Work work);
    bool table_products(std::span<const Tokens> batch, int threads, Stop&);
    bool table_gradients(int threads, Stop&, bool& finite);
    bool weight_gradients(size_t layer, int threads, bool add, Stop&, bool& finite);
    size_t muon_memory() const;
    void update(double rate, int threads, Stop&);
    void add_losses(double& total) const;

    Settings settings_;
    Model model_{};
    Kernels kernels_{};
    size_t count_ = 0;
    int64_t step_ = 0;
    Floats64 weights_memory_, rows_memory_, scratch_memory_, table_memory_;
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
    std::unique_ptr<Team> team_;
};

// work(item, thread, ticker) for all items; false when it was stopped meanwhile.
template <class Work>
bool Engine::in_parallel(int items, int threads, Stop& stop, Work work) {
    const auto main_asks = [](void* context) { return static_cast<Stop*>(context)->now(); };
    const auto helper_asks = [](void* context) { return static_cast<Stop*>(context)->stopped(); };
    if (threads > 1 && (!team_ || team_->threads() != threads))
        team_ = std::make_unique<Team>(threads);
    const auto do_item = [&](int item, int thread) {
        Ticker ticker{thread ? +helper_asks : +main_asks, &stop,
                      thread ? Ticker::kBudget : stop.left, stop.stopped()};
        work(item, thread, ticker);
        if (!thread) stop.left = ticker.left;
    };
    if (threads > 1) {
        team_->run(items, do_item, [&] { stop.now(); });
    } else {
        for (int item = 0; item < items; item++) do_item(item, 0);
    }
    return !stop.stopped();
}

}  // namespace microgpt::fast
