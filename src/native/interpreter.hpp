// The Python interpreter: given up while an engine works, taken back, and its end.
//
// When Python ends, daemon threads are still running. CPython before 3.14 ends such a thread with
// pthread_exit when it asks for the interpreter. On Linux that unwinds the C++ frames of the thread
// as an exception does, through destructors that must not throw, and the process aborts. Therefore:
// 1. At exit, engines stop, and Python ends when their threads have left the module.
// 2. A thread that is ended in spite of that waits for ever instead, as in CPython 3.14.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <thread>

namespace microgpt {

namespace nb = nanobind;

// Returns f(), which asks for the interpreter or runs Python code. It calls C functions only: it
// throws no exception, and no object in it has a destructor.
template <typename F>
auto call_python(F f) {
    try {
        return f();
    } catch (...) {  // no exception: the thread is being ended
        for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    }
}

// A thread in the module: from the first look at its arguments until its results are made. It
// holds the interpreter at both ends.
class Presence {
public:
    Presence() {
        leave_if_ending();
        threads_++, depth_++;
    }
    ~Presence() { threads_--, depth_--; }
    Presence(const Presence&) = delete;
    Presence& operator=(const Presence&) = delete;

    // Whether Python ends, and this thread with it. The thread that ends Python goes on.
    static bool ending() { return ending_.load() && ender_.load() != std::this_thread::get_id(); }

    // Ends a Python thread as sys.exit() does: with no message. One that is being printed when
    // Python ends can make the interpreter abort.
    static void leave_if_ending() {
        if (!ending()) return;
        PyErr_SetNone(PyExc_SystemExit);
        throw nb::python_error();
    }

    // Called at exit. Waits for the other threads, but not for one that is stuck in Python code.
    static void end() {
        constexpr std::chrono::seconds longest(5);
        ender_.store(std::this_thread::get_id());
        ending_.store(true);
        const auto begin = std::chrono::steady_clock::now();
        PyThreadState* const thread = PyEval_SaveThread();
        while (threads_.load() > depth_ && std::chrono::steady_clock::now() - begin < longest)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        call_python([&] { PyEval_RestoreThread(thread); });
    }
    // Called when the module is loaded, which can be after an end, and in the child after a fork,
    // which has this thread alone.
    static void begin() {
        ending_.store(false);
        threads_.store(depth_);
    }

private:
    static inline std::atomic<bool> ending_{false};
    static inline std::atomic<std::thread::id> ender_{};
    static inline std::atomic<int> threads_{0};  // in the module, each as often as it entered
    static inline thread_local int depth_ = 0;   // how often this thread entered
};

// Calls work() without the interpreter, in a thread that is present. work() calls no Python code
// but through call_python.
template <typename Work>
void without_interpreter(Work work) {
    PyThreadState* const thread = PyEval_SaveThread();
    std::exception_ptr error;
    try {
        work();
    } catch (...) {
        error = std::current_exception();
    }
    call_python([&] { PyEval_RestoreThread(thread); });
    Presence::leave_if_ending();
    if (error) std::rethrow_exception(error);
}

}  // namespace microgpt
