// The exact engine as Python sees it: checks what comes in, releases the interpreter, copies
// results out. Does no arithmetic.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <cmath>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "binding.hpp"
#include "engine.hpp"

namespace nb = nanobind;

namespace microgpt {

// The compiler must not evaluate these itself: -fno-builtin for this file (CMakeLists.txt).
extern const SystemLibm system_libm{std::exp, std::log, std::pow};

namespace {

using Numbers = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using WritableNumbers = nb::ndarray<double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// ---- Choice of instruction set and libm, once at import
// ------------------------------------------

struct Choice {
    const InstructionSet* set;
    bool vector_libm;
};

std::vector<const InstructionSet*> compiled_sets() {  // best first
    return {
#ifdef MICROGPT_AVX512
        &avx512_set,
#endif
#ifdef MICROGPT_AVX2
        &avx2_set,
#endif
        &baseline_set};
}

// isa: a name or "" for the best that runs here; libm: "system" or "" for the vector forms where
// they are equal.
Choice choose(const std::string& isa, const std::string& libm) {
    if (libm != "" && libm != "system") throw nb::value_error("libm must be 'system' or empty");
    for (const InstructionSet* set : compiled_sets()) {
        if (isa != "" && isa != set->name) continue;
        if (!set->runs_here()) continue;
        return {set, libm == "" && set->probe()};
    }
    throw nb::value_error(
        ("the instruction set '" + isa.substr(0, 40) + "' is unknown or does not run here")
            .c_str());
}

const Choice& default_choice() {
    static const Choice choice = choose("", "");
    return choice;
}

// ---- Stop question, locking
// ----------------------------------------------------------------------

// Asks a Python callable, taking the interpreter back for that. An exception in it counts as a yes
// and is raised again when the engine has come back.
class StopQuestion {
public:
    explicit StopQuestion(nb::object callable) : callable_(std::move(callable)) {}
    static bool put(void* self) { return static_cast<StopQuestion*>(self)->ask(); }
    void raise_if_failed() {
        if (error_) std::rethrow_exception(error_);
    }

private:
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
};

bool never(void*) { return false; }

// One thread at a time in an engine. A second one waits; the first one, coming back from inside its
// own stop question, would wait for ever and gets an error instead.
class Turnstile {
public:
    class Pass {
    public:
        explicit Pass(Turnstile& t) : turnstile_(t) {
            if (t.inside_.load() == std::this_thread::get_id())
                throw std::runtime_error(
                    "the engine is busy in this very thread: stop() must not call it");
            t.mutex_.lock();
            t.inside_.store(std::this_thread::get_id());
        }
        ~Pass() {
            turnstile_.inside_.store(std::thread::id());
            turnstile_.mutex_.unlock();
        }
        Pass(const Pass&) = delete;

    private:
        Turnstile& turnstile_;
    };

private:
    std::mutex mutex_;
    std::atomic<std::thread::id> inside_{};
};

// ---- Documents
// -----------------------------------------------------------------------------------

// Calls f(item) for each item of a Python sequence.
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

class DocumentList {
public:
    DocumentList(Index vocab_size, Index longest) : vocab_size_(vocab_size), longest_(longest) {}

    // Appends a document's token ids, as far as the model looks: `longest` of them.
    void add(nb::handle document) {
        const std::size_t start = tokens_.size();
        for_each_item(document, [&](nb::handle item) {
            if (static_cast<Index>(tokens_.size() - start) < longest_)
                tokens_.push_back(token(item));
        });
        starts_.push_back(static_cast<Index>(tokens_.size()));
    }
    Index count() const { return static_cast<Index>(starts_.size()) - 1; }
    Documents view() const { return {tokens_.data(), starts_.data(), count()}; }
    const std::vector<std::int32_t>& tokens() const { return tokens_; }

private:
    std::int32_t token(nb::handle item) const {
        const long long id = PyLong_AsLongLong(item.ptr());
        if (id == -1 && PyErr_Occurred()) throw nb::python_error();
        if (id < 0 || id >= vocab_size_)
            throw nb::value_error(("token id " + std::to_string(id) +
                                   " is outside the vocabulary, 0 to " +
                                   std::to_string(vocab_size_ - 1))
                                      .c_str());
        return static_cast<std::int32_t>(id);
    }
    Index vocab_size_, longest_;
    std::vector<std::int32_t> tokens_;
    std::vector<Index> starts_{0};
};

void check_length(std::size_t found, Index expected, const char* what) {
    if (static_cast<Index>(found) != expected)
        throw nb::value_error((std::string(what) + " must hold " + std::to_string(expected) +
                               " numbers, not " + std::to_string(found))
                                  .c_str());
}

// ---- The class
// -----------------------------------------------------------------------------------

class PyExact {
public:
    PyExact(Index n_layer, Index n_embd, Index n_head, Index block_size, Index vocab_size,
            double beta1, double beta2, double eps, const Numbers& parameters, const Numbers& m,
            const Numbers& v, Index step, const nb::object& isa, const nb::object& libm)
        : shape_(Shape::of(n_layer, n_embd, n_head, block_size, vocab_size)) {
        if (vocab_size > INT32_MAX)
            throw std::overflow_error("the vocabulary has more than 2^31 - 1 tokens");
        if (step < 0 || step > (Index{1} << 53))
            throw nb::value_error("step must be from 0 to 2^53");
        check_length(parameters.size(), shape_.parameters, "parameters");
        check_length(m.size(), shape_.parameters, "m");
        check_length(v.size(), shape_.parameters, "v");
        const auto text = [](const nb::object& x) {
            return x.is_none() ? std::string() : nb::cast<std::string>(x);
        };
        const Choice choice =
            isa.is_none() && libm.is_none() ? default_choice() : choose(text(isa), text(libm));
        engine_.reset(choice.set->create(shape_, {beta1, beta2, eps}, parameters.data(), m.data(),
                                         v.data(), step, choice.vector_libm));
    }

    // -> (losses, "done" | "stopped" | "diverged")
    nb::tuple steps(nb::sequence batches, nb::sequence rates, nb::object stop) {
        DocumentList documents = document_list();
        std::vector<Index> sizes;
        for_each_item(batches, [&](nb::handle batch) {
            const Index size =
                for_each_item(batch, [&](nb::handle document) { documents.add(document); });
            sizes.push_back(size);
        });
        std::vector<double> learning_rates;
        for_each_item(rates, [&](nb::handle rate) { learning_rates.push_back(number(rate)); });
        check_length(learning_rates.size(), static_cast<Index>(sizes.size()), "learning_rates");
        std::vector<double> losses(sizes.size());
        End end = End::done;
        Index done = 0;
        run(stop, [&](Poll& poll) {
            done = engine_->steps(documents.view(), sizes.data(), learning_rates.data(),
                                  static_cast<Index>(sizes.size()), losses.data(), end, poll);
        });
        losses.resize(static_cast<std::size_t>(done));
        const char* names[] = {"done", "stopped", "diverged"};
        return nb::make_tuple(nb::cast(losses), names[static_cast<int>(end)]);
    }

    // -> loss, None when stopped
    std::optional<double> gradients(nb::sequence batch, const WritableNumbers& out,
                                    nb::object stop) {
        check_length(out.size(), shape_.parameters, "out");
        DocumentList documents = document_list();
        for_each_item(batch, [&](nb::handle document) { documents.add(document); });
        std::optional<double> loss;
        double* data = out.data();
        run(stop, [&](Poll& poll) { loss = engine_->gradients(documents.view(), data, poll); });
        return loss;
    }

    std::vector<std::vector<double>> log_probabilities(nb::sequence documents, nb::object stop) {
        DocumentList list = document_list();
        for_each_item(documents, [&](nb::handle document) { list.add(document); });
        std::vector<double> found(list.tokens().size());
        Index done = 0;
        run(stop, [&](Poll& poll) {
            done = engine_->log_probabilities(list.view(), found.data(), poll);
        });
        std::vector<std::vector<double>> result;
        const double* next = found.data();
        for (Index i = 0; i < done; i++) {
            const Index positions = std::max<Index>(0, list.view().length(i) - 1);
            result.emplace_back(next, next + positions);
            next += positions;
        }
        return result;
    }

    // -> (probabilities, attention), each the bytes of its numbers, row by row; None when stopped
    std::optional<nb::tuple> trace(nb::handle document, nb::object stop) {
        DocumentList list = document_list();
        list.add(document);
        const Index n = std::max<Index>(0, list.view().length(0) - 1);
        std::vector<double> probabilities(static_cast<std::size_t>(times(n, shape_.vocab_size)));
        std::vector<double> attention(static_cast<std::size_t>(
            times(times(shape_.n_layer, shape_.n_head), times(n, plus(n, 1)) / 2)));
        bool done = false;
        run(stop, [&](Poll& poll) {
            engine_->trace(list.view(), probabilities.data(), attention.data(), poll);
            done = true;
        });
        if (!done) return std::nullopt;
        return nb::make_tuple(bytes_of(probabilities), bytes_of(attention));
    }

    // -> (documents, coins used)
    nb::tuple generate(Index count, const Numbers& coins, nb::handle start, double temperature,
                       Index top_k, double top_p, nb::object stop) {
        DocumentList list(shape_.vocab_size, INT64_MAX);
        list.add(start);
        const Index prefix_length = static_cast<Index>(list.tokens().size()) - 1;
        if (prefix_length < 0 || prefix_length >= shape_.block_size)
            throw nb::value_error("the start has 1 to block_size tokens");
        if (!(temperature > 0)) throw nb::value_error("temperature must be above 0");
        if (top_k < 0) throw nb::value_error("top_k must be at least 0");
        if (!(top_p > 0)) throw nb::value_error("top_p must be above 0");
        // Every document but the last takes a coin at least, and is begun only while the longest
        // has its coins.
        const Index coin_count = static_cast<Index>(coins.size()),
                    longest = shape_.block_size - prefix_length;
        count = std::max<Index>(
            0, std::min(count, coin_count < longest ? 0 : coin_count - longest + 1));
        std::vector<std::int32_t> tokens(
            static_cast<std::size_t>(plus(times(count, prefix_length), coin_count)));
        std::vector<Index> lengths(static_cast<std::size_t>(count));
        Index made = 0, used = 0;
        const double* coin = coins.data();
        run(stop, [&](Poll& poll) {
            made = engine_->generate(count, coin, coin_count, list.tokens().data(), prefix_length,
                                     {temperature, top_k, top_p}, tokens.data(), lengths.data(),
                                     used, poll);
        });
        nb::list documents;
        const std::int32_t* next = tokens.data();
        for (Index i = 0; i < made; next += lengths[static_cast<std::size_t>(i++)])
            documents.append(
                std::vector<std::int32_t>(next, next + lengths[static_cast<std::size_t>(i)]));
        return nb::make_tuple(documents, used);
    }

    // Copies of weights and moments into writable arrays; returns the step count.
    Index copy_state(const WritableNumbers& parameters, const WritableNumbers& m,
                     const WritableNumbers& v) {
        check_length(parameters.size(), shape_.parameters, "parameters");
        check_length(m.size(), shape_.parameters, "m");
        check_length(v.size(), shape_.parameters, "v");
        Index step = 0;
        double* to[] = {parameters.data(), m.data(), v.data()};
        run(nb::none(), [&](Poll&) {
            const double* from[] = {engine_->parameters(), engine_->m(), engine_->v()};
            for (int i = 0; i < 3; i++) std::copy(from[i], from[i] + shape_.parameters, to[i]);
            step = engine_->step();
        });
        return step;
    }

private:
    DocumentList document_list() const { return {shape_.vocab_size, plus(shape_.block_size, 1)}; }

    static nb::bytes bytes_of(const std::vector<double>& numbers) {
        return nb::bytes(reinterpret_cast<const char*>(numbers.data()),
                         numbers.size() * sizeof(double));
    }

    static double number(nb::handle item) {
        const double x = PyFloat_AsDouble(item.ptr());
        if (x == -1.0 && PyErr_Occurred()) throw nb::python_error();
        return x;
    }

    // Runs `work` without the interpreter, alone in the engine.
    template <typename Work>
    void run(const nb::object& stop, Work work) {
        StopQuestion question(stop);
        {
            nb::gil_scoped_release released;
            Turnstile::Pass pass(turnstile_);
            Poll poll(stop.is_none() ? never : StopQuestion::put, &question);
            try {
                work(poll);
            } catch (const Stopped&) {  // where there is no part to give
            }
        }
        question.raise_if_failed();
    }

    const Shape shape_;
    std::unique_ptr<Engine> engine_;
    Turnstile turnstile_;
};

nb::dict about() {
    const Choice& choice = default_choice();
    nb::list sets;
    for (const InstructionSet* set : compiled_sets())
        if (set->runs_here()) sets.append(set->name);
    nb::dict found;
    found["isa"] = choice.set->name;
    found["libm"] = choice.vector_libm ? "vector" : "system";
    found["isas"] = sets;
    return found;
}

}  // namespace

void bind_exact(nb::module_& m) {
    m.def("about", &about,
          "isa and libm in use, and all instruction sets that run here, best first.");
    nb::class_<PyExact>(m, "Exact", "A model in float64; see microgpt.engines.exact.")
        .def(
            nb::init<Index, Index, Index, Index, Index, double, double, double, const Numbers&,
                     const Numbers&, const Numbers&, Index, const nb::object&, const nb::object&>(),
            nb::arg("n_layer"), nb::arg("n_embd"), nb::arg("n_head"), nb::arg("block_size"),
            nb::arg("vocab_size"), nb::arg("beta1"), nb::arg("beta2"), nb::arg("eps"),
            nb::arg("parameters").noconvert(), nb::arg("m").noconvert(), nb::arg("v").noconvert(),
            nb::arg("step"), nb::kw_only(), nb::arg("isa") = nb::none(),
            nb::arg("libm") = nb::none())
        .def("steps", &PyExact::steps, nb::arg("batches"), nb::arg("learning_rates"),
             nb::arg("stop"))
        .def("gradients", &PyExact::gradients, nb::arg("batch"), nb::arg("out").noconvert(),
             nb::arg("stop"))
        .def("log_probabilities", &PyExact::log_probabilities, nb::arg("documents"),
             nb::arg("stop"))
        .def("trace", &PyExact::trace, nb::arg("tokens"), nb::arg("stop"))
        .def("generate", &PyExact::generate, nb::arg("count"), nb::arg("coins").noconvert(),
             nb::arg("start"), nb::arg("temperature"), nb::arg("top_k"), nb::arg("top_p"),
             nb::arg("stop"))
        .def("copy_state", &PyExact::copy_state, nb::arg("parameters").noconvert(),
             nb::arg("m").noconvert(), nb::arg("v").noconvert());
}

}  // namespace microgpt
