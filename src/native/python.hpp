// What passes between Python and the engines: numbers, documents, the stop question, turns.
// Whatever Python hands over, and whatever changes while it is read, nothing is read out of bounds.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine.hpp"
#include "floating_point.hpp"

namespace microgpt {

namespace nb = nanobind;

using Numbers = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using WritableNumbers = nb::ndarray<double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

[[noreturn]] inline void refuse(const std::string& words) { throw nb::value_error(words.c_str()); }

// ---- Numbers ------------------------------------------------------------------------------------

// An int; one that does not fit is the nearest that does. Anything else is a TypeError.
inline Index whole_number(nb::handle item) {
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(item.ptr(), &overflow);
    if (number == -1 && PyErr_Occurred()) throw nb::python_error();
    if (overflow) return overflow > 0 ? INT64_MAX : INT64_MIN;
    return number;
}

inline double real_number(nb::handle item) {
    const double number = PyFloat_AsDouble(item.ptr());
    if (number == -1.0 && PyErr_Occurred()) throw nb::python_error();
    return number;
}

inline void check_length(std::size_t length, Index expected, const char* what) {
    if (static_cast<Index>(length) != expected)
        refuse(std::string(what) + " must hold " + std::to_string(expected) + " numbers, not " +
               std::to_string(length));
}

// The engines' part of a `microgpt.config.Config`: the one place where its fields are named.
inline Config config_of(nb::handle config) {
    const auto whole = [&](const char* name) { return whole_number(config.attr(name)); };
    const auto real = [&](const char* name) { return real_number(config.attr(name)); };
    Config c{};
    c.n_layer = whole("n_layer"), c.n_embd = whole("n_embd"), c.n_head = whole("n_head");
    c.block_size = whole("block_size");
    c.beta1 = real("beta1"), c.beta2 = real("beta2"), c.eps_adam = real("eps_adam");
    c.weight_decay = real("weight_decay"), c.input_dropout = real("input_dropout");
    c.muon = real("muon");
    return c;
}

// ---- Documents ----------------------------------------------------------------------------------

// Calls f(item) for each item of a Python sequence; returns how many there were. A list may change
// meanwhile: reading an item can run Python code.
template <typename F>
Index for_each_item(nb::handle sequence, F f) {
    if (PyList_Check(sequence.ptr())) {
        Index i = 0;
        for (; i < PyList_Size(sequence.ptr()); i++)
            f(nb::borrow(PyList_GetItem(sequence.ptr(), i)));
        return i;
    }
    const Py_ssize_t size = PySequence_Size(sequence.ptr());
    if (size < 0) throw nb::python_error();
    for (Py_ssize_t i = 0; i < size; i++) {
        nb::object item = nb::steal(PySequence_GetItem(sequence.ptr(), i));
        if (!item.is_valid()) throw nb::python_error();
        f(item);
    }
    return size;
}

// Token ids of documents, flat and checked.
class DocumentList {
public:
    explicit DocumentList(const Shape& shape) : shape_(shape) {}

    // A document, as far as the model looks: block_size + 1 tokens.
    void add(nb::handle document) {
        if (add_tokens(document, shape_.block_size + 1) < 2)
            refuse("a document needs at least two tokens");
    }
    void add_all(nb::handle documents) {
        for_each_item(documents, [&](nb::handle document) { add(document); });
    }
    // Returns the number of documents.
    Index add_batch(nb::handle batch) {
        const Index before = count();
        add_all(batch);
        if (count() == before) refuse("a batch needs at least one document");
        return count() - before;
    }
    void add_start(nb::handle start) {
        const Index length = add_tokens(start, INT64_MAX);
        if (length < 1 || length > shape_.block_size)
            refuse("start must have 1 to " + std::to_string(shape_.block_size) + " tokens, not " +
                   std::to_string(length));
    }

    Index count() const { return static_cast<Index>(starts_.size()) - 1; }
    Documents view() const { return {tokens_.data(), starts_.data(), count()}; }
    // Predictions in all documents: a document of n tokens has n - 1.
    std::size_t predictions() const { return tokens_.size() - static_cast<std::size_t>(count()); }

private:
    Index add_tokens(nb::handle document, Index longest) {
        Index length = 0;
        for_each_item(document, [&](nb::handle item) {
            if (length < longest) tokens_.push_back(token(item)), length++;
        });
        starts_.push_back(static_cast<Index>(tokens_.size()));
        return length;
    }
    std::int32_t token(nb::handle item) const {
        const Index id = whole_number(item);
        if (id >= 0 && id < shape_.vocab_size) return static_cast<std::int32_t>(id);
        refuse("token " + text_of(item, id) + " is outside the vocabulary of " +
               std::to_string(shape_.vocab_size) + " tokens");
    }
    // Python's own digits where the number is too large for ours.
    static std::string text_of(nb::handle item, Index id) {
        if (id != INT64_MAX && id != INT64_MIN) return std::to_string(id);
        const nb::object text = nb::steal(PyObject_Str(item.ptr()));
        const char* characters =
            text.is_valid() ? PyUnicode_AsUTF8AndSize(text.ptr(), nullptr) : nullptr;
        if (characters) return characters;
        PyErr_Clear();  // Python prints no number of thousands of digits
        return "of thousands of digits";
    }

    const Shape shape_;
    std::vector<std::int32_t> tokens_;
    std::vector<Index> starts_{0};
};

// ---- The stop question --------------------------------------------------------------------------

// Asks a Python callable, and holds the interpreter for that, in the caller's floating-point mode.
// An exception in it counts as a yes and is raised again when the engine has returned.
class StopQuestion {
public:
    StopQuestion(nb::object callable, FloatingPointWord mode)
        : callable_(std::move(callable)), mode_(mode) {}
    static bool ask(void* self) { return static_cast<StopQuestion*>(self)->ask_python(); }
    void raise_if_failed() const {
        if (error_) std::rethrow_exception(error_);
    }

private:
    bool ask_python() {
        const nb::gil_scoped_acquire interpreter;
        const FloatingPointMode callers(mode_);
        try {
            return nb::cast<bool>(nb::bool_(callable_()));
        } catch (...) {
            error_ = std::current_exception();
            return true;
        }
    }
    nb::object callable_;
    const FloatingPointWord mode_;
    std::exception_ptr error_;
};

// One thread at a time in an engine. A second one waits. The first one, coming back from inside its
// own stop question, would wait for ever, and gets an error instead.
class Turnstile {
public:
    class Pass {
    public:
        explicit Pass(Turnstile& turnstile) : turnstile_(turnstile) {
            if (turnstile.inside_.load() == std::this_thread::get_id())
                throw std::runtime_error("stop() must not call the engine that asks it");
            turnstile.mutex_.lock();
            turnstile.inside_.store(std::this_thread::get_id());
        }
        ~Pass() {
            turnstile_.inside_.store(std::thread::id());
            turnstile_.mutex_.unlock();
        }
        Pass(const Pass&) = delete;
        Pass& operator=(const Pass&) = delete;

    private:
        Turnstile& turnstile_;
    };

private:
    std::mutex mutex_;
    std::atomic<std::thread::id> inside_{};
};

}  // namespace microgpt
