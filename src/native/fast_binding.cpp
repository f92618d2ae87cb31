// The fast engine as Python sees it: checks what comes in, releases the interpreter, copies results
// out. Does no arithmetic.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

#include "binding.hpp"
#include "fast.hpp"

namespace nb = nanobind;

namespace microgpt {

namespace {

using fast::Tokens;
using Numbers = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using WritableNumbers = nb::ndarray<double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// Puts the question to a Python callable, taking the interpreter back for it. An exception there
// counts as yes and is raised again when the engine has come back.
class Question {
public:
    explicit Question(nb::object callable)
        : callable_(std::move(callable)), stop(&Question::put, this) {}
    void raise_if_failed() {
        if (error_) std::rethrow_exception(error_);
    }

private:
    static bool put(void* self) { return static_cast<Question*>(self)->ask(); }
    bool ask() {
        nb::gil_scoped_acquire interpreter;
        try {
            return nb::cast<bool>(nb::bool_(callable_()));
        } catch (...) {
            error_ = std::current_exception();
            return true;
        }
    }
    nb::object callable_;
    std::exception_ptr error_;

public:
    fast::Stop stop;
};

// Token ids of documents, flat; every id is checked here, once.
class Documents {
public:
    Documents(int vocab_size, int block_size)
        : vocab_size_(vocab_size), longest_(static_cast<size_t>(block_size) + 1) {}

    void add(nb::handle document) {
        starts_.push_back(ids_.size());
        each(document, [&](nb::handle item) {
            if (ids_.size() - starts_.back() < longest_) ids_.push_back(token(item));
        });
        if (ids_.size() - starts_.back() < 2)
            throw nb::value_error("a document needs two tokens or more");
    }
    void add_start(nb::handle start) {
        starts_.push_back(ids_.size());
        each(start, [&](nb::handle item) { ids_.push_back(token(item)); });
        if (ids_.empty() || ids_.size() + 1 > longest_)
            throw nb::value_error("the start has 1 to block_size tokens");
    }
    size_t size() const { return starts_.size(); }
    // Valid until the next add.
    Tokens operator[](size_t i) const {
        const size_t end = i + 1 < starts_.size() ? starts_[i + 1] : ids_.size();
        return {ids_.data() + starts_[i], end - starts_[i]};
    }
    std::vector<Tokens> views(size_t first, size_t last) const {
        std::vector<Tokens> result;
        for (size_t i = first; i < last; i++) result.push_back((*this)[i]);
        return result;
    }

    template <class F>
    static void each(nb::handle sequence, F f) {
        if (PyList_Check(sequence.ptr())) {
            const Py_ssize_t size = PyList_Size(sequence.ptr());
            for (Py_ssize_t i = 0; i < size; i++) {
                PyObject* item = PyList_GetItem(sequence.ptr(), i);
                if (!item) throw nb::python_error();  // a list that shrank meanwhile
                f(nb::handle(item));
            }
            return;
        }
        if (!PySequence_Check(sequence.ptr())) throw nb::type_error("a sequence is needed");
        const Py_ssize_t size = PySequence_Size(sequence.ptr());
        if (size < 0) throw nb::python_error();
        for (Py_ssize_t i = 0; i < size; i++) {
            const nb::object item = nb::steal(PySequence_GetItem(sequence.ptr(), i));
            if (!item.is_valid()) throw nb::python_error();
            f(item);
        }
    }

private:
    int32_t token(nb::handle item) const {
        const long id = PyLong_AsLong(item.ptr());
        if (id == -1 && PyErr_Occurred()) throw nb::python_error();
        if (id < 0 || id >= vocab_size_) {
            throw nb::value_error(("token " + std::to_string(id) +
                                   " is outside the vocabulary of " + std::to_string(vocab_size_))
                                      .c_str());
        }
        return static_cast<int32_t>(id);
    }
    int vocab_size_;
    size_t longest_;
    std::vector<int32_t> ids_;
    std::vector<size_t> starts_;
};

// One engine, one thread at a time. A second thread waits; stop() must not come back into its own
// engine.
class FastEngine {
public:
    FastEngine(int n_layer, int n_embd, int n_head, int block_size, int vocab_size, double beta1,
               double beta2, double eps_adam, double weight_decay, double input_dropout,
               double muon, Numbers parameters, Numbers m, Numbers v, int64_t step, int threads,
               const std::string& isa)
        : engine_({n_layer, n_head, n_embd, block_size, vocab_size, beta1, beta2, eps_adam,
                   weight_decay, input_dropout, muon, threads, isa},
                  parameters.data(), m.data(), v.data(), equal_sizes(parameters, m, v), step) {}

    // Work with the engine while other Python threads go on.
    template <class Work>
    void enter(Work work) {
        if (inside_.load() == std::this_thread::get_id())
            throw std::runtime_error("stop() must not call the engine that asks it");
        const nb::gil_scoped_release others;
        const std::lock_guard lock(mutex_);
        inside_.store(std::this_thread::get_id());
        struct Leave {
            std::atomic<std::thread::id>& inside;
            ~Leave() { inside.store({}); }
        } leave{inside_};
        work();
    }

    int64_t copy_state(WritableNumbers parameters, WritableNumbers m, WritableNumbers v) {
        check_count(equal_sizes(parameters, m, v));
        int64_t step = 0;
        enter([&] { engine_.state(parameters.data(), m.data(), v.data()), step = engine_.step(); });
        return step;
    }

    nb::tuple steps(nb::handle batches, const std::vector<double>& rates, nb::object ask) {
        Documents documents = empty();
        std::vector<size_t> ends;
        Documents::each(batches, [&](nb::handle batch) {
            Documents::each(batch, [&](nb::handle document) { documents.add(document); });
            if (documents.size() == (ends.empty() ? 0 : ends.back()))
                throw nb::value_error("a batch needs a document or more");
            ends.push_back(documents.size());
        });
        if (ends.size() != rates.size())
            throw nb::value_error("as many learning rates as batches are needed");
        std::vector<std::vector<Tokens>> views;
        for (size_t i = 0; i < ends.size(); i++)
            views.push_back(documents.views(i ? ends[i - 1] : 0, ends[i]));
        std::vector<double> losses;
        Question question(std::move(ask));
        fast::End end = fast::End::done;
        enter([&] { end = engine_.steps(views, rates, question.stop, losses); });
        question.raise_if_failed();
        const char* names[] = {"done", "stopped", "diverged"};
        return nb::make_tuple(losses, names[static_cast<int>(end)]);
    }

    // -> loss, None when stopped
    std::optional<double> gradients(nb::handle batch, WritableNumbers out, nb::object ask) {
        check_count(out.size());
        Documents documents = empty();
        Documents::each(batch, [&](nb::handle document) { documents.add(document); });
        if (documents.size() == 0) throw nb::value_error("a batch needs a document or more");
        double loss = 0.0;
        bool done = false;
        Question question(std::move(ask));
        enter([&] {
            done = engine_.gradients(documents.views(0, documents.size()), loss, out.data(),
                                     question.stop);
        });
        question.raise_if_failed();
        return done ? std::optional(loss) : std::nullopt;
    }

    std::vector<std::vector<float>> log_probabilities(nb::handle sequence, nb::object ask) {
        Documents documents = empty();
        Documents::each(sequence, [&](nb::handle document) { documents.add(document); });
        std::vector<std::vector<float>> found;
        Question question(std::move(ask));
        enter([&] {
            found = engine_.log_probabilities(documents.views(0, documents.size()), question.stop);
        });
        question.raise_if_failed();
        return found;
    }

    // -> (probabilities, attention), each the bytes of its numbers, row by row; None when stopped
    std::optional<nb::tuple> trace(nb::handle tokens, nb::object ask) {
        Documents documents = empty();
        documents.add(tokens);
        std::vector<double> probabilities, attention;
        bool done = false;
        Question question(std::move(ask));
        enter([&] { done = engine_.trace(documents[0], probabilities, attention, question.stop); });
        question.raise_if_failed();
        if (!done) return std::nullopt;
        return nb::make_tuple(bytes_of(probabilities), bytes_of(attention));
    }

    nb::tuple generate(size_t count, Numbers coins, nb::handle start, double temperature,
                       int64_t top_k, double top_p, nb::object ask) {
        if (!(temperature > 0.0) || !std::isfinite(temperature))
            throw nb::value_error("the temperature must be above 0");
        if (top_k < 0 || !(top_p > 0.0 && top_p <= 1.0))
            throw nb::value_error("top_k is 0 or more, top_p above 0 and at most 1");
        for (size_t i = 0; i < coins.size(); i++) {
            if (!(coins.data()[i] >= 0.0 && coins.data()[i] < 1.0))
                throw nb::value_error("coins are at least 0 and below 1");
        }
        Documents list = empty();
        list.add_start(start);
        std::vector<std::vector<int32_t>> documents;
        size_t used = 0;
        Question question(std::move(ask));
        enter([&] {
            used = engine_.generate(count, {coins.data(), coins.size()}, list[0],
                                    {temperature, top_k, top_p}, question.stop, documents);
        });
        question.raise_if_failed();
        return nb::make_tuple(documents, used);
    }

    std::string isa() const { return engine_.instructions(); }

private:
    static nb::bytes bytes_of(const std::vector<double>& numbers) {
        return nb::bytes(reinterpret_cast<const char*>(numbers.data()),
                         numbers.size() * sizeof(double));
    }
    Documents empty() const {
        return {engine_.settings().vocab_size, engine_.settings().block_size};
    }
    template <class A>
    static size_t equal_sizes(const A& parameters, const A& m, const A& v) {
        if (m.size() != parameters.size() || v.size() != parameters.size()) {
            throw nb::value_error("parameters, m and v must be equally long");
        }
        return parameters.size();
    }
    void check_count(size_t count) const {
        if (count != engine_.parameter_count()) {
            throw nb::value_error(
                ("an array of " + std::to_string(engine_.parameter_count()) + " numbers is needed")
                    .c_str());
        }
    }

    fast::Engine engine_;
    std::mutex mutex_;
    std::atomic<std::thread::id> inside_{};
};

}  // namespace

void bind_fast(nb::module_& m) {
    m.def("fast_isas", &fast::instruction_sets,
          "Instruction sets the fast engine can use on this machine, best first.");
    m.def(
        "fast_peak", &fast::peak, nb::arg("isa"), nb::call_guard<nb::gil_scoped_release>(),
        "float32 operations a second of one core with that instruction set, from registers alone.");
    nb::class_<FastEngine>(m, "Fast", "A model in float32. See microgpt.engines.fast.")
        .def(nb::init<int, int, int, int, int, double, double, double, double, double, double,
                      Numbers, Numbers, Numbers, int64_t, int, const std::string&>(),
             nb::arg("n_layer"), nb::arg("n_embd"), nb::arg("n_head"), nb::arg("block_size"),
             nb::arg("vocab_size"), nb::arg("beta1"), nb::arg("beta2"), nb::arg("eps_adam"),
             nb::arg("weight_decay"), nb::arg("input_dropout"), nb::arg("muon"),
             nb::arg("parameters"), nb::arg("m"), nb::arg("v"), nb::arg("step"), nb::arg("threads"),
             nb::arg("isa"))
        .def("copy_state", &FastEngine::copy_state, nb::arg("parameters"), nb::arg("m"),
             nb::arg("v"), "Fills the arrays; returns the step count.")
        .def("steps", &FastEngine::steps, nb::arg("batches"), nb::arg("learning_rates"),
             nb::arg("stop"))
        .def("gradients", &FastEngine::gradients, nb::arg("batch"), nb::arg("out"), nb::arg("stop"))
        .def("log_probabilities", &FastEngine::log_probabilities, nb::arg("documents"),
             nb::arg("stop"))
        .def("trace", &FastEngine::trace, nb::arg("tokens"), nb::arg("stop"))
        .def("generate", &FastEngine::generate, nb::arg("count"), nb::arg("coins"),
             nb::arg("start"), nb::arg("temperature"), nb::arg("top_k"), nb::arg("top_p"),
             nb::arg("stop"))
        .def_prop_ro("isa", &FastEngine::isa);
}

}  // namespace microgpt
