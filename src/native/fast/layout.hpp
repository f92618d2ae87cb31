// What the fast engine's parts hand to each other: plain records of sizes and pointers.
// Nothing here allocates or computes. The kernels (one translation unit for each instruction set)
// read and write through these records; memory, threads and the order of work belong to
// fast/engine.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace microgpt::fast {

constexpr int kPad = 16;  // widths are padded with zeros to whole vectors of every instruction set
constexpr int kQueries = 8;  // attention keeps this many queries in the lanes of a vector
constexpr int kHeads = 4;    // and works on this many heads at once, then on single ones

// Floats from one row to the next, for rows of `width` floats. Rows that are a multiple of 4 KiB
// apart would all fall into the same few sets of the cache: an odd number of cache lines spreads
// them.
constexpr int stride_for(int width) { return width >= 64 && width % 32 == 0 ? width + 16 : width; }

// Floats of LayerRows::attention for a block of kQueries queries that look at `keys` keys. Keys and
// heads are rounded up to multiples of 4.
inline __attribute__((always_inline)) size_t attention_floats(int n_head, int keys) {
    return static_cast<size_t>((n_head + 3) / 4 * 4) * static_cast<size_t>((keys + 3) / 4 * 4) *
           kQueries;
}

// A weight matrix [out][in] and what belongs to it, out and in padded to multiples of kPad. All of
// it is packed in panels of L columns, L = lanes of the instruction set, so that a product reads it
// in order.
struct Matrix {
    float* forward;   // [out / L][in][L]: Y = X W^T, outputs in the lanes
    float* backward;  // [in / L][out][L]: dX = dY W, inputs in the lanes; the layout of all below
    float* gradient;
    float* m;  // Adam's running mean of the gradient
    float* v;  // and of its square
    int out, in;
};

// Rows for tokens, then for positions, padded to `columns`; row-major.
struct Table {
    float *weights, *gradient, *m, *v;
    int rows, columns;
};

// One layer's matrices. The q, k and v sections of qkv are `attn` rows each; every head starts at a
// multiple of `head`, its head_dim padded to a multiple of 4.
struct Layer {
    Matrix qkv, wo, fc1, fc2;
};

struct Model {
    int n_layer, n_head, n_embd, head_dim, vocab_size, block_size;  // as in Config
    int embd, head, attn, hidden, vocab;                            // padded; attn >= n_head * head
    int embd_stride, attn_stride, qkv_stride, hidden_stride;  // floats between rows of activations
    Table embeddings;                                         // wte's rows, then wpe's
    Matrix lm_head;
    Layer* layers;
};

// One document of a batch. Its positions 0 ... shared - 1 have rows of earlier documents of its
// group with the same prefix; the others have rows of its own, from first_row on.
struct Document {
    const int32_t* tokens;
    int positions, shared, first_row;
    const int32_t* path;  // the row of each position
    bool contiguous;      // path[t] == first_row - shared + t for all t
    size_t attention;     // where its attention weights start in LayerRows::attention
};

// Documents that share prefixes; the unit of work of forward and backward.
struct Group {
    int first_document, last_document, first_row, last_row, first_entry,
        last_entry;  // last: one past
};

// The activations that a layer's backward pass needs, one row for each distinct position.
// Columns past the real width stay zero.
struct LayerRows {
    float *normed1, *scale1;  // [embd], [1]: input of q, k, v; its rmsnorm's scale
    float* qkv;               // [3 attn]
    // For each document and each block of kQueries of its own positions from q on: the weights of
    // min(q + kQueries, positions) keys, attention_floats of them, in the order of narrow.hpp
    // or wide.hpp (attention_index).
    float* attention;
    float* mixed;             // [attn]: input of wo
    float *normed2, *scale2;  // [embd], [1]: input of fc1
    float* hidden;            // [hidden]: input of fc2
};

struct Rows {
    float *embedded, *scale0;  // [embd], [1]: after the first rmsnorm
    float* stream;  // [embd]: the residual stream, after the last layer: input of lm_head
    float* logits;  // [vocab]; after the backward pass the gradient by them
    // Gradients, of one layer at a time. d_stream[i % 2]: [embd], by the residual stream before
    // layer i, so that a layer's two do not meet; at the end [0] is by token row + position row.
    float* d_stream[2];
    float *d_hidden, *d_middle,
        *d_qkv;                  // [hidden], [embd], [3 attn]: by the outputs of fc1, wo and qkv
    float *temporary, *d_mixed;  // [embd], [attn]: between two products
    float* sums;  // [1]: sums of squares, later the logarithm of the sum of exponentials
    // If not null: [3 attn], the first layer's qkv of each row of the embeddings, and the gradients
    // by them (embedding_products.hpp).
    float *table_qkv, *d_table_qkv;
    LayerRows* layers;
    const int32_t *token, *position;  // of each row
    const float* weight;              // of each row in the loss: the sum over its entries
    // An entry is one prediction: a position of a document. Rows that are shared have several.
    const int32_t *entry_row, *entry_target;
    const float* entry_weight;     // 1 / (positions of the document * documents)
    float* entry_log_probability;  // out
    const Document* documents;
};

// Where row `first` begins.
inline __attribute__((always_inline)) float* from(float* rows, int first, int stride) {
    return rows + static_cast<size_t>(first) * static_cast<size_t>(stride);
}

// One thread's own memory.
struct Scratch {
    float *gathered,
        *d_gathered;  // [positions][2 attn]: keys and values of a document that shares rows
    float *queries,
        *scores;  // [kHeads][head][kQueries]; [positions, a multiple of 4][kHeads][kQueries]
    float* muon;  // muon_floats of the largest section
};

// Asks, now and then, whether to give up. Kernels `spend` multiply-adds; after kBudget of them
// (some tens of microseconds) the owner's function is called, which looks at the clock. A stopped
// ticker stays stopped.
struct Ticker {
    static constexpr int64_t kBudget = 2'000'000;
    bool (*ask)(void*);
    void* context;
    int64_t left;
    bool stopped;

    inline __attribute__((always_inline)) bool spend(int64_t multiply_adds) {
        left -= multiply_adds;
        return left < 0 ? asked() : stopped;
    }
    bool
    asked();  // in fast/engine.cpp: code compiled for one instruction set must not serve the others
};

// What one update does to every number: m = beta1 m + (1 - beta1) g, v likewise with g^2, then
// p = keep p - rate m / (sqrt(v) + eps), the corrections of the bias folded into rate and eps.
struct Update {
    float beta1, beta2, rate, eps, keep;
};

// Muon's: p = keep p - rate * direction, with momentum beta.
struct MuonUpdate {
    float beta, rate, keep;
};

// Floats that an update by Muon needs for a section of out x in weights.
inline size_t muon_floats(int out, int in) {
    const size_t n = static_cast<size_t>(out < in ? out : in);
    return 2 * static_cast<size_t>(out) * static_cast<size_t>(in) + 3 * n * n;
}

// The functions that an instruction set provides.
struct Kernels {
    const char* name;
    int lanes;
    // Activations of a group's rows in a layer, from the embeddings on in the first, up to the
    // logits in the last.
    void (*layer_forward)(const Model&, const Rows&, const Group&, int layer, Scratch&, Ticker&);
    // log p of the group's entries from its logits, which are lost.
    void (*log_probabilities)(const Model&, const Rows&, const Group&, Ticker&);
    // The same, and the gradient by the logits, in their place, and by the residual stream after
    // the last layer.
    void (*output_backward)(const Model&, const Rows&, const Group&, Ticker&);
    // From the gradient by a layer's output those by its matrices' outputs and by its input; before
    // the first layer, by the sum of the embeddings.
    void (*layer_backward)(const Model&, const Rows&, const Group&, int layer, Scratch&, Ticker&);
    // Rows [first, last) of a matrix's gradient: d_output^T input over `rows` rows. Added to what
    // is there if `add`. Answers whether the sum of all squares, and of those of sums under way, is
    // finite.
    bool (*gradient)(const Matrix&, const float* d_output, int d_stride, const float* input,
                     int stride, int rows, int first, int last, bool add, Ticker&);
    // Columns [first, last) of a gradient by the embeddings, to which row r adds d[r] in its
    // token's row and its position's.
    bool (*table_gradient)(const Model&, const Rows&, const Table&, const float* d, int stride,
                           int rows, int first, int last, bool add);
    // Rows [first, last) of the embeddings: their table_qkv; and what d_table_qkv adds to their
    // gradient, which is answered to be finite or not.
    void (*table_products)(const Model&, const Rows&, int first, int last, Ticker&);
    bool (*table_products_backward)(const Model&, const Rows&, int first, int last, Ticker&);
    // Updates rows [first, last) of a matrix, both layouts, or of a table.
    void (*update_matrix)(const Matrix&, int first, int last, const Update&, Ticker&);
    void (*update_table)(const Table&, int first, int last, const Update&, Ticker&);
    void (*muon)(const Matrix&, int first, int last, const MuonUpdate&, float* memory);
    // Products and sums in registers alone; `operations`: how many. The result means nothing.
    double (*multiply_add)(long rounds, double& operations);
};

}  // namespace microgpt::fast
