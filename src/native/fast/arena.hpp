// The fast engine's memory: one block of floats at a time, from which its arrays are taken.
#pragma once

#include <cstddef>

#include "../memory.hpp"

namespace microgpt::fast {

inline int padded(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

// An arena: hands out parts of one block, in two rounds of the same calls. The first, without a
// block, measures; the second gives pointers. Each part starts on a cache line.
class Arena {
public:
    explicit Arena(float* base) : base_(base) {}
    float* take(Index count) {
        const Index at = used_;
        used_ = plus(used_, plus(count, 15) / 16 * 16);
        return base_ ? base_ + at : nullptr;
    }
    Index used() const { return used_; }

private:
    float* base_;
    Index used_ = 0;
};

}  // namespace microgpt::fast
