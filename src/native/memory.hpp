// Zeroed memory on a cache line's boundary, freed with its owner.
//
// Code for one instruction set uses it in place of std::vector, whose functions the linker keeps
// once for the whole module, maybe with instructions that this machine lacks.
#pragma once

#include <cstddef>

#include "shape.hpp"

namespace microgpt {

class Memory {
public:
    Memory() = default;
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    ~Memory();

    // At least `count` numbers of `size` bytes; where it must grow, all of it is zero. Throws
    // std::bad_alloc or std::overflow_error, and is then empty.
    void grow(Index count, std::size_t size);
    void release();
    void* data() const { return data_; }
    Index count() const { return count_; }

private:
    void* allocated_ = nullptr;
    void* data_ = nullptr;
    Index count_ = 0;
};

template <typename Number>
class Buffer {
public:
    MICROGPT_INLINE Buffer() {}
    MICROGPT_INLINE explicit Buffer(Index count) { grow(count); }
    MICROGPT_INLINE ~Buffer() {}

    // At least `count` numbers; contents are lost when it grows.
    MICROGPT_INLINE void grow(Index count) { memory_.grow(count, sizeof(Number)); }
    MICROGPT_INLINE void release() { memory_.release(); }
    MICROGPT_INLINE Number* data() { return static_cast<Number*>(memory_.data()); }
    MICROGPT_INLINE const Number* data() const {
        return static_cast<const Number*>(memory_.data());
    }
    MICROGPT_INLINE Number& operator[](Index i) { return data()[i]; }
    MICROGPT_INLINE Number operator[](Index i) const { return data()[i]; }
    MICROGPT_INLINE Index size() const { return memory_.count(); }

private:
    Memory memory_;
};

}  // namespace microgpt
