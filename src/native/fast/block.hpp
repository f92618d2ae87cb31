// A block of queries of one document, and the rows that it looks at: the arguments of both
// attention kernels (narrow.hpp and wide.hpp).
#pragma once

#include "layout.hpp"
#include "vector.hpp"

namespace microgpt::fast::MICROGPT_ISA {

// Rows of floats, each `stride` floats after the one before: positions of a document, from some
// column on.
struct ConstRows {
    const float* at;
    size_t stride;
    MICROGPT_INLINE const float* row(int t) const { return at + size_t(t) * stride; }
    MICROGPT_INLINE ConstRows from(int column) const { return {at + column, stride}; }
};
struct MutableRows {  // the same, to write to
    float* at;
    size_t stride;
    MICROGPT_INLINE float* row(int t) const { return at + size_t(t) * stride; }
    MICROGPT_INLINE MutableRows from(int column) const { return {at + column, stride}; }
};

// Up to kQueries queries from position t0 on, and what they look at. From some head's first column
// on.
struct Block {
    ConstRows queries, keys, values;
    int t0, rows, count;  // count: of keys, t0 + rows
    int head;
    float factor;  // of the scores

    MICROGPT_INLINE Block from(int column) const {
        return {queries.from(column),
                keys.from(column),
                values.from(column),
                t0,
                rows,
                count,
                head,
                factor};
    }
};

}  // namespace microgpt::fast::MICROGPT_ISA
