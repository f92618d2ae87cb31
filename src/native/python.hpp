// What passes between Python and the engines: numbers, documents, the stop question, turns.
// Whatever Python hands over, and whatever changes while it is read, nothing is read out of bounds.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine.hpp"
#include "floating_point.hpp"
#include "interpreter.hpp"

namespace microgpt {

using Numbers = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using WritableNumbers = nb::ndarray<double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

[[noreturn]] inline void refuse(const std::string& words) { throw nb::value_error(words.c_str()); }

// ---- Numbers ------------------------------------------------------------------------------------

// An int; one that does not fit is the nearest that does, and *fits becomes false. Anything else is
// a TypeError.
inline Index whole_number(nb::handle item, bool* fits = nullptr) {
    int overflow = 0;
    const long long number =
        call_python([&] { return PyLong_AsLongLongAndOverflow(item.ptr(), &overflow); });
    if (number == -1 && PyErr_Occurred()) throw nb::python_error();
    if (!overflow) return number;
    if (fits) *fits = false;
    return overflow > 0 ? INT64_MAX : INT64_MIN;
}

inline double real_number(nb::handle item) {
    const double number = call_python([&] { return PyFloat_AsDouble(item.ptr()); });
    if (number == -1.0 && PyErr_Occurred()) throw nb::python_error();
    return number;
}

// A new reference, or the Python exception that stands for none.
inline nb::object owned(PyObject* object) {
    if (!object) throw nb::python_error();
    return nb::steal(object);
}

inline void check_length(std::size_t length, Index expected, const char* what) {
    if (static_cast<Index>(length) != expected)
        refuse(std::string(what) + " must hold " + std::to_string(expected) + " numbers, not " +
               std::to_string(length));
}

// The engines' part of a `microgpt.config.Config`: the one place where its fields are named.
inline Config config_of(nb::handle config) {
    const auto field = [&](const char* name) {
        return owned(call_python([&] { return PyObject_GetAttrString(config.ptr(), name); }));
    };
    const auto whole = [&](const char* name) { return whole_number(field(name)); };
    const auto real = [&](const char* name) { return real_number(field(name)); };
    Config c{};
    c.n_layer = whole("n_layer"), c.n_embd = whole("n_embd"), c.n_head = whole("n_head");
    c.block_size = whole("block_size");
    c.beta1 = real("beta1"), c.beta2 = real("beta2"), c.eps_adam = real("eps_adam");
    c.weight_decay = real("weight_decay"), c.input_dropout = real("input_dropout");
    c.muon = real("muon");
    return c;
}

// ---- Documents ----------------------------------------------------------------------------------

// Reading long sequences can be interrupted: looks for signals now and then.
inline void look_at_signals() {
    static thread_local unsigned items = 0;
    if (++items % 1024 == 0 && call_python([] { return PyErr_CheckSignals(); }))
        throw nb::python_error();
}

inline Index length_of(nb::handle sequence) {
    const Py_ssize_t size = call_python([&] { return PySequence_Size(sequence.ptr()); });
    if (size < 0) throw nb::python_error();
    return size;
}

// Calls f(item) for the first `most` items of a Python sequence; returns how many there were. A
// list may change meanwhile: reading an item can run Python code.
template <typename F>
Index for_each_item(nb::handle sequence, Index most, F f) {
    const bool list = PyList_Check(sequence.ptr());
    const Index size = std::min(most, list ? most : length_of(sequence));
    Index i = 0;
    for (; i < size && !(list && i >= PyList_Size(sequence.ptr())); i++) {
        if (list) {
            f(nb::borrow(PyList_GetItem(sequence.ptr(), i)));
        } else {
            f(owned(call_python([&] { return PySequence_GetItem(sequence.ptr(), i); })));
        }
        look_at_signals();
    }
    return i;
}
template <typename F>
Index for_each_item(nb::handle sequence, F f) {
    return for_each_item(sequence, PY_SSIZE_T_MAX, f);
}

// Token ids of documents, flat and checked.
class DocumentList {
public:
    explicit DocumentList(const Shape& shape) : shape_(shape) {}

    // A document, as far as the model looks: block_size + 1 tokens.
    void add(nb::handle document) {
        if (length_of(document) < 2 || add_tokens(document, shape_.block_size + 1) < 2)
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
        const auto check = [&](Index length) {
            if (length < 1 || length > shape_.block_size)
                refuse("start must have 1 to " + std::to_string(shape_.block_size) +
                       " tokens, not " + std::to_string(length));
        };
        check(length_of(start));
        check(add_tokens(start, shape_.block_size + 1));  // it may have changed
    }

    Index count() const { return static_cast<Index>(starts_.size()) - 1; }
    Documents view() const { return {tokens_.data(), starts_.data(), count()}; }
    // Predictions in all documents: a document of n tokens has n - 1.
    std::size_t predictions() const { return tokens_.size() - static_cast<std::size_t>(count()); }

private:
    Index add_tokens(nb::handle document, Index most) {
        const Index length =
            for_each_item(document, most, [&](nb::handle item) { tokens_.push_back(token(item)); });
        starts_.push_back(static_cast<Index>(tokens_.size()));
        return length;
    }
    std::int32_t token(nb::handle item) const {
        bool fits = true;
        const Index id = whole_number(item, &fits);
        if (id >= 0 && id < shape_.vocab_size) return static_cast<std::int32_t>(id);
        refuse((fits ? "token " + std::to_string(id) : "a token") +
               " is outside the vocabulary of " + std::to_string(shape_.vocab_size) + " tokens");
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
    static bool ask(void* self) {
        return never(nullptr) || static_cast<StopQuestion*>(self)->ask_python();
    }
    // For a caller who is not to be asked.
    static bool never(void*) { return Presence::ending(); }
    void raise_if_failed() const {
        if (error_) std::rethrow_exception(error_);
    }

private:
    bool ask_python() {
        const PyGILState_STATE state = call_python([] { return PyGILState_Ensure(); });
        const int answer = ask_callable();
        if (answer < 0) error_ = std::make_exception_ptr(nb::python_error());
        PyGILState_Release(state);
        return answer != 0;
    }
    // -1: a Python exception.
    int ask_callable() const {
        const FloatingPointMode callers(mode_);
        return call_python([&] {
            PyObject* const answer = PyObject_CallNoArgs(callable_.ptr());
            const int truth = answer ? PyObject_IsTrue(answer) : -1;
            Py_XDECREF(answer);
            return truth;
        });
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
