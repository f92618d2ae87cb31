// Which rows the documents of a batch take. Documents go in groups of a fixed size, and are sorted
// within a group, so that those with a common prefix follow each other and share its rows. A causal
// model computes the same at those positions; their gradients add up. The plan depends on the
// documents alone, never on the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "../engine.hpp"
#include "layout.hpp"

namespace microgpt::fast {

typedef std::span<const int32_t> Tokens;

// Documents first ... last - 1.
inline void view(const Documents& documents, Index first, Index last, std::vector<Tokens>& views) {
    views.clear();
    for (Index i = first; i < last; i++)
        views.emplace_back(documents.tokens + documents.starts[i],
                           static_cast<size_t>(documents.length(i)));
}

// Floats that LayerRows::attention holds for a document.
inline size_t attention_size(int n_head, int positions, int shared) {
    size_t floats = 0;
    for (int first = shared; first < positions; first += kQueries) {
        floats += attention_floats(n_head, std::min(first + kQueries, positions));
    }
    return floats;
}

// Where, in a block of queries with so many keys, LayerRows::attention has the weight of a head's
// key for a query.
inline size_t attention_index(const Model& model, int keys, int head, int key, int lane) {
    if (model.head == 4) {
        const size_t four = static_cast<size_t>(lane) * ((keys + 3) / 4) + key / 4;
        return four * static_cast<size_t>(model.attn) + static_cast<size_t>(head * 4 + key % 4);
    }
    const bool together = head < model.n_head / kHeads * kHeads;
    const int first = together ? head / kHeads * kHeads : head, heads = together ? kHeads : 1;
    return (static_cast<size_t>(first) * keys + static_cast<size_t>(key) * heads + head - first) *
               kQueries +
           lane;
}

class Plan {
public:
    std::vector<Document> documents;  // in the order of their rows
    std::vector<int> order;           // documents[i] is the caller's order[i]
    std::vector<Group> groups;
    std::vector<int32_t> token, position, entry_row, entry_target;
    std::vector<float> weight, entry_weight, entry_log_probability;
    size_t attention = 0;        // floats a layer
    int longest = 0;             // positions of the longest document
    double input_dropout = 0.0;  // share of the inputs that this update hides (hidden_inputs)
    int64_t update = 0;          // its number, from 0
    int32_t mark = 0;            // the token that replaces a hidden input: BOS

    int rows() const { return static_cast<int>(token.size()); }

    // Takes documents batch[first] and on, whole groups, until `row_limit` rows are full; at least
    // one group. Returns the first document not taken. batch_size: what the mean loss divides by.
    size_t fill(std::span<const Tokens> batch, size_t first, size_t batch_size, int block_size,
                int n_head, int row_limit) {
        clear();
        while (first < batch.size()) {
            size_t end = first;
            for (int positions = 0;
                 end < batch.size() && end - first < kGroupDocuments && positions < kGroupRows;
                 end++) {
                positions += length(batch[end], block_size);
            }
            add_group(batch, first, end, batch_size, block_size, n_head);
            first = end;
            if (rows() + kGroupRows > row_limit) break;
        }
        path_pointers();
        return first;
    }

    // About how many groups documents with so many positions make.
    static size_t groups_of(size_t documents, size_t positions) {
        return std::max({documents / kGroupDocuments, positions / kGroupRows, size_t{1}});
    }

    static int length(Tokens tokens, int block_size) {
        return static_cast<int>(std::min(static_cast<size_t>(block_size), tokens.size() - 1));
    }

private:
    static constexpr size_t kGroupDocuments = 16;
    static constexpr int kGroupRows = 128;

    void clear() {
        documents.clear(), order.clear(), groups.clear(), token.clear(), position.clear(),
            entry_row.clear();
        entry_target.clear(), weight.clear(), entry_weight.clear();
        attention = 0, longest = 0;
    }

    void add_group(std::span<const Tokens> batch, size_t first, size_t end, size_t batch_size,
                   int block_size, int n_head) {
        Group g{static_cast<int>(documents.size()), 0, rows(), 0,
                static_cast<int>(entry_row.size()), 0};
        row_ = token.size(), entry_ = entry_row.size();
        size_t positions = 0;
        for (size_t i = first; i < end; i++)
            positions += static_cast<size_t>(length(batch[i], block_size));
        resize(row_ + positions, entry_ + positions);
        const size_t start = order.size();
        for (size_t i = first; i < end; i++) order.push_back(static_cast<int>(i));
        for (size_t i = start + 1; i < order.size();
             i++) {  // by insertion: a group is small, and nothing is allocated
            const int moved = order[i];
            size_t to = i;
            for (; to > start && before(batch[moved], batch[order[to - 1]]); to--)
                order[to] = order[to - 1];
            order[to] = moved;
        }
        for (size_t i = start; i < order.size(); i++) {
            add_document(batch[order[i]], i == start ? Tokens() : batch[order[i - 1]], batch_size,
                         block_size, n_head);
        }
        resize(row_, entry_);
        g.last_document = static_cast<int>(documents.size()), g.last_row = rows();
        g.last_entry = static_cast<int>(entry_row.size());
        groups.push_back(g);
    }

    void resize(size_t rows, size_t entries) {
        token.resize(rows), position.resize(rows), weight.resize(rows);
        entry_row.resize(entries), entry_target.resize(entries), entry_weight.resize(entries);
    }

    static bool before(Tokens a, Tokens b) {
        size_t i = 0;
        for (const size_t n = std::min(a.size(), b.size()); i < n && a[i] == b[i];) i++;
        return i < std::min(a.size(), b.size()) ? a[i] < b[i] : a.size() < b.size();
    }

    // `last`: the document before in the group, if any; its entries end entry_row.
    void add_document(Tokens tokens, Tokens last, size_t batch_size, int block_size, int n_head) {
        const int n = length(tokens, block_size),
                  last_n = last.empty() ? 0 : length(last, block_size);
        int shared = 0;
        while (shared < n && shared < last_n && tokens[shared] == last[shared]) shared++;
        const int32_t* last_path = entry_row.data() + entry_ - last_n;
        const float share =
            static_cast<float>(1.0 / (static_cast<double>(n) * static_cast<double>(batch_size)));
        Document d{tokens.data(), n, shared, static_cast<int>(row_), nullptr, true, attention};
        uint32_t prefix = 0;
        for (int t = 0; t < n; t++) {
            if (input_dropout > 0.0)
                prefix = mixed(prefix ^ (static_cast<uint32_t>(tokens[t]) + 0x9e3779b9u));
            const int row = t < shared ? last_path[t] : static_cast<int>(row_++);
            if (t >= shared) token[row] = t && hides(prefix) ? mark : tokens[t], position[row] = t;
            weight[row] += share;
            d.contiguous = d.contiguous && row == d.first_row - shared + t;
            entry_row[entry_] = row, entry_target[entry_] = tokens[t + 1],
            entry_weight[entry_++] = share;
        }
        documents.push_back(d);
        attention += attention_size(n_head, n, shared);
        longest = std::max(longest, n);
    }

    // As `mixed` in reference_recipe.py.
    static uint32_t mixed(uint32_t word) {
        word = (word ^ word >> 16) * 0x85ebca6bu;
        word = (word ^ word >> 13) * 0xc2b2ae35u;
        return word ^ word >> 16;
    }

    // Whether the last token of this prefix is hidden.
    bool hides(uint32_t prefix) const {
        if (input_dropout == 0.0) return false;
        const uint32_t word = mixed(prefix + mixed(static_cast<uint32_t>(update) + 0x2545f491u));
        return word < static_cast<uint32_t>(input_dropout * 0x1p32);
    }

    void path_pointers() {
        const int32_t* at = entry_row.data();
        for (Document& d : documents) d.path = at, at += d.positions;
        entry_log_probability.resize(entry_row.size());
    }

    size_t row_ = 0, entry_ = 0;  // the next ones, of a group under way
};

}  // namespace microgpt::fast
