// Aligned float arrays of checked size, and the fast engine's blocks of them.
#pragma once

#include <cstddef>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

namespace microgpt::fast {

// a * b, or OverflowError in Python.
inline size_t times(size_t a, size_t b) {
    size_t result;
    if (__builtin_mul_overflow(a, b, &result))
        throw std::overflow_error("the model's size does not fit in memory");
    return result;
}

inline int padded(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

// Floats, zero at first, on a cache line's boundary; freed with their owner.
class Floats64 {
public:
    Floats64() = default;
    explicit Floats64(size_t count) : count_(count) {
        if (count == 0) return;
        data_ =
            static_cast<float*>(::operator new(times(count, sizeof(float)), std::align_val_t(64)));
        std::memset(data_, 0, count * sizeof(float));
    }
    Floats64(Floats64&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
    Floats64& operator=(Floats64&& other) noexcept {
        std::swap(data_, other.data_), std::swap(count_, other.count_);
        return *this;
    }
    ~Floats64() { ::operator delete(data_, std::align_val_t(64)); }

    // Grow to at least `count` floats, losing what was there; by half at least, so that it happens
    // seldom.
    float* at_least(size_t count) {
        if (count > count_) {
            const size_t grown = count_ + count_ / 2;
            *this = Floats64();
            *this = Floats64(count > grown ? count : grown);
        }
        return data_;
    }
    float* data() const { return data_; }
    size_t size() const { return count_; }

private:
    float* data_ = nullptr;
    size_t count_ = 0;
};

// Hands out parts of one Floats64, in two rounds of the same calls: the first measures, the second
// gives pointers.
class Carver {
public:
    explicit Carver(float* base) : base_(base) {}
    float* take(size_t count) {
        const size_t at = used_, rounded = count + (16 - count % 16) % 16;
        if (rounded < count || __builtin_add_overflow(used_, rounded, &used_)) {
            throw std::overflow_error("the model's size does not fit in memory");
        }
        return base_ ? base_ + at : nullptr;
    }
    size_t used() const { return used_; }

private:
    float* base_;
    size_t used_ = 0;
};

}  // namespace microgpt::fast
