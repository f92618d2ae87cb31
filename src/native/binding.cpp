// The module microgpt._native: the engines as Python sees them. Checks what comes in, releases the
// interpreter, sets the floating-point mode, copies results out. Does no arithmetic.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <memory>
#include <optional>

#include "cpu.hpp"
#include "exact/exact.hpp"
#include "python.hpp"
#ifdef MICROGPT_FAST
#include "fast/engine.hpp"
#endif

namespace microgpt {

namespace {

nb::bytes bytes_of(const std::vector<double>& numbers) {
    return nb::bytes(reinterpret_cast<const char*>(numbers.data()),
                     numbers.size() * sizeof(double));
}

void check_sampling(const Sampling& sampling, const Numbers& coins) {
    if (!(sampling.temperature > 0.0) || !std::isfinite(sampling.temperature))
        refuse("temperature must be finite and above 0");
    if (sampling.top_k < 0) refuse("top_k must be at least 0");
    if (!(sampling.top_p > 0.0 && sampling.top_p <= 1.0))
        refuse("top_p must be above 0 and at most 1");
    for (std::size_t i = 0; i < coins.size(); i++)
        if (!(coins.data()[i] >= 0.0 && coins.data()[i] < 1.0))
            refuse("coins must be at least 0 and below 1");
}

// One model on one engine. What the methods take and return: src/microgpt/_native.pyi.
class Model {
public:
    nb::tuple steps(nb::handle batches, nb::handle rates, nb::object stop) {
        const Presence present;
        const auto check_rates = [](Index batch_count, Index rate_count) {
            if (rate_count != batch_count)
                refuse(std::to_string(batch_count) + " batches need " +
                       std::to_string(batch_count) + " learning rates, not " +
                       std::to_string(rate_count));
        };
        check_rates(length_of(batches), length_of(rates));
        std::vector<double> learning_rates;
        for_each_item(rates, [&](nb::handle rate) {
            learning_rates.push_back(real_number(rate));
            if (!std::isfinite(learning_rates.back())) refuse("a learning rate must be finite");
        });
        DocumentList documents(shape_);
        std::vector<Index> sizes;
        for_each_item(batches,
                      [&](nb::handle batch) { sizes.push_back(documents.add_batch(batch)); });
        // They may have changed while they were read.
        check_rates(static_cast<Index>(sizes.size()), static_cast<Index>(learning_rates.size()));
        if (sizes.empty()) stop = nb::none();  // nothing to ask about
        std::vector<double> losses(sizes.size());
        End end = End::done;
        Index done = 0;
        run(std::move(stop), [&](Stop& question) {
            done = engine_->steps(documents.view(), sizes.data(), learning_rates.data(),
                                  static_cast<Index>(sizes.size()), losses.data(), end, question);
        });
        losses.resize(static_cast<std::size_t>(done));
        const char* names[] = {"done", "stopped", "diverged"};
        return nb::make_tuple(losses, names[static_cast<int>(end)]);
    }

    std::optional<double> gradients(nb::handle batch, const WritableNumbers& out, nb::object stop) {
        const Presence present;
        check_length(out.size(), shape_.parameters, "out");
        DocumentList documents(shape_);
        documents.add_batch(batch);
        std::optional<double> loss;
        double* data = out.data();
        run(std::move(stop),
            [&](Stop& question) { loss = engine_->gradients(documents.view(), data, question); });
        return loss;
    }

    nb::object log_probabilities(nb::handle documents, nb::object stop) {
        const Presence present;
        DocumentList list(shape_);
        list.add_all(documents);
        if (!list.count()) stop = nb::none();  // nothing to ask about
        std::vector<double> numbers(list.predictions());
        Index done = 0;
        run(std::move(stop), [&](Stop& question) {
            done = engine_->log_probabilities(list.view(), numbers.data(), question);
        });
        for (double& number : numbers)  // as the logarithm of a probability that is no number
            if (std::isnan(number)) number = -HUGE_VAL;
        std::vector<std::vector<double>> result;
        const double* next = numbers.data();
        for (Index i = 0; i < done; i++) {
            result.emplace_back(next, next + list.view().length(i) - 1);
            next += list.view().length(i) - 1;
        }
        return nb::cast(result);
    }

    std::optional<nb::tuple> trace(nb::handle document, nb::object stop) {
        const Presence present;
        DocumentList list(shape_);
        list.add(document);
        const Index n = list.view().length(0) - 1;
        std::vector<double> probabilities(static_cast<std::size_t>(times(n, shape_.vocab_size)));
        std::vector<double> attention(static_cast<std::size_t>(
            times(times(shape_.n_layer, shape_.n_head), times(n, plus(n, 1)) / 2)));
        bool done = false;
        run(std::move(stop), [&](Stop& question) {
            engine_->trace(list.view(), probabilities.data(), attention.data(), question);
            done = true;
        });
        if (!done) return std::nullopt;
        return nb::make_tuple(bytes_of(probabilities), bytes_of(attention));
    }

    nb::tuple generate(nb::handle count, const Numbers& coins, nb::handle start, double temperature,
                       nb::handle top_k, double top_p, nb::object stop) {
        const Presence present;
        const Index documents = whole_number(count);
        if (documents < 0) refuse("count must be at least 0");
        const Sampling sampling{temperature, whole_number(top_k), top_p};
        check_sampling(sampling, coins);
        DocumentList list(shape_);
        list.add_start(start);
        const Documents view = list.view();
        const Request request{documents,   coins.data(),   static_cast<Index>(coins.size()),
                              view.tokens, view.length(0), sampling};
        Generated generated;
        run(std::move(stop),
            [&](Stop& question) { engine_->generate(request, generated, question); });
        return nb::make_tuple(generated.documents, generated.coins_used);
    }

    // Fills the arrays with weights and moments; returns the step count.
    Index copy_state(const WritableNumbers& parameters, const WritableNumbers& m,
                     const WritableNumbers& v) {
        const Presence present;
        check_length(parameters.size(), shape_.parameters, "parameters");
        check_length(m.size(), shape_.parameters, "m");
        check_length(v.size(), shape_.parameters, "v");
        Index step = 0;
        double* to[] = {parameters.data(), m.data(), v.data()};
        run(nb::none(), [&](Stop&) {
            engine_->copy_state(to[0], to[1], to[2]);
            step = engine_->step();
        });
        return step;
    }

    const char* instruction_set() const { return engine_->instruction_set(); }

    // What every engine is made of, read and checked.
    struct Parts {
        Parts(nb::handle config_object, Index vocab_size, const Numbers& parameters,
              const Numbers& m, const Numbers& v, nb::handle step)
            : config(config_of(config_object)), shape(Shape::of(config, vocab_size)) {
            check_length(parameters.size(), shape.parameters, "parameters");
            check_length(m.size(), shape.parameters, "m");
            check_length(v.size(), shape.parameters, "v");
            const Index updates = whole_number(step);
            if (updates < 0) refuse("step must be at least 0");
            if (updates > Index{1} << 53) refuse("step must be at most 2^53");
            state = State{parameters.data(), m.data(), v.data(), updates};
        }
        Config config;
        Shape shape;
        State state{};
    };

    // make(config, shape, state): the engine.
    template <typename Make>
    Model(const Parts& parts, Make make) : shape_(parts.shape) {
        const FloatingPointMode standard(standard_mode);
        engine_ = make(parts.config, parts.shape, parts.state);
    }

private:
    // Runs `work` without the interpreter, alone in the engine, in the standard mode.
    template <typename Work>
    void run(nb::object stop, Work work) {
        const bool asks = !stop.is_none();
        const FloatingPointMode standard(standard_mode);
        StopQuestion question(std::move(stop), standard.after());
        without_interpreter([&] {
            const Turnstile::Pass pass(turnstile_);
            Stop poll(asks ? StopQuestion::ask : StopQuestion::never, &question);
            try {
                work(poll);
            } catch (const Stopped&) {  // where nothing is finished
            }
        });
        question.raise_if_failed();
    }

    Shape shape_{};
    std::unique_ptr<Engine> engine_;
    Turnstile turnstile_;
};

constexpr const char* once = "an engine is made once: make another";

// Takes all arguments that __init__ refuses. Among these is an object that has its engine.
void refuse_again(nb::handle self, const nb::args&, const nb::kwargs&) {
    if (nb::inst_ready(self)) throw std::runtime_error(once);
    throw nb::next_overload();
}

// Makes a T in the Python object `self`, which has none yet. The arguments have been read: reading
// runs Python code, which can make one meanwhile.
template <typename T, typename... Arguments>
void make_once(nb::pointer_and_handle<T> self, Arguments&&... arguments) {
    if (nb::inst_ready(self.h)) throw std::runtime_error(once);
    new (self.p) T(std::forward<Arguments>(arguments)...);
}

class Exact : public Model {
public:
    Exact(const Parts& parts, const std::string& isa, const std::string& libm)
        : Model(parts, [&](auto&&... model) { return exact::make(model..., isa, libm); }) {}

    static void init(nb::pointer_and_handle<Exact> self, nb::handle config, Index vocab_size,
                     const Numbers& parameters, const Numbers& m, const Numbers& v, nb::handle step,
                     const std::optional<std::string>& isa,
                     const std::optional<std::string>& libm) {
        const Presence present;
        const Parts parts(config, vocab_size, parameters, m, v, step);
        make_once(self, parts, isa.value_or(""), libm.value_or(""));
    }
};

#ifdef MICROGPT_FAST
class Fast : public Model {
public:
    Fast(const Parts& parts, int threads, const std::string& isa)
        : Model(parts, [&](auto&&... model) {
              return std::make_unique<fast::Engine>(model..., threads, isa);
          }) {}

    static void init(nb::pointer_and_handle<Fast> self, nb::handle config, Index vocab_size,
                     const Numbers& parameters, const Numbers& m, const Numbers& v, nb::handle step,
                     nb::handle threads, const std::string& isa) {
        const Presence present;
        const Parts parts(config, vocab_size, parameters, m, v, step);
        const Index most = whole_number(threads);
        if (most < 0 || most > 64) refuse("threads must be from 0 to 64");
        make_once(self, parts, static_cast<int>(most), isa);
    }
};

double fast_peak(const std::string& isa) {
    const Presence present;
    double result = 0.0;
    without_interpreter([&] {
        const FloatingPointMode standard(standard_mode);
        result = fast::peak(isa);
    });
    return result;
}
#endif

nb::dict about() {
    const FloatingPointMode standard(standard_mode);
    nb::dict result;
    result["isa"] = instruction_sets().front();
    result["libm"] = exact::vector_libm() ? "vector" : "system";
    result["isas"] = instruction_sets();
    return result;
}

// The standard floating-point mode, for arithmetic in Python: a context manager.
class StandardArithmetic {
public:
    StandardArithmetic& enter() {
        mode_.emplace(standard_mode);
        return *this;
    }
    void leave(const nb::args&) { mode_.reset(); }

private:
    std::optional<FloatingPointMode> mode_;
};

void follow_the_interpreter() {
    Presence::begin();
    nb::module_::import_("atexit").attr("register")(nb::cpp_function(&Presence::end));
    const nb::module_ os = nb::module_::import_("os");
    if (nb::hasattr(os, "register_at_fork"))
        os.attr("register_at_fork")(nb::arg("after_in_child") = nb::cpp_function(&Presence::begin));
}

void bind(nb::module_& m) {
    m.def("about", &about,
          "isa and libm in use, and all instruction sets that run here, best first.");
    nb::class_<StandardArithmetic>(m, "StandardArithmetic",
                                   "A context manager: rounds to nearest, keeps subnormal numbers.")
        .def(nb::init<>())
        .def("__enter__", &StandardArithmetic::enter, nb::rv_policy::reference)
        .def("__exit__", &StandardArithmetic::leave);
    const auto numbers = [](const char* name) { return nb::arg(name).noconvert(); };
    nb::class_<Model>(m, "Engine", "One model; see microgpt.engines.")
        .def("steps", &Model::steps, nb::arg("batches"), nb::arg("learning_rates"), nb::arg("stop"))
        .def("gradients", &Model::gradients, nb::arg("batch"), numbers("out"), nb::arg("stop"))
        .def("log_probabilities", &Model::log_probabilities, nb::arg("documents"), nb::arg("stop"))
        .def("trace", &Model::trace, nb::arg("tokens"), nb::arg("stop"))
        .def("generate", &Model::generate, nb::arg("count"), numbers("coins"), nb::arg("start"),
             nb::arg("temperature"), nb::arg("top_k"), nb::arg("top_p"), nb::arg("stop"))
        .def("copy_state", &Model::copy_state, numbers("parameters"), numbers("m"), numbers("v"),
             "Fills the arrays; returns the step count.")
        .def_prop_ro("instruction_set", &Model::instruction_set);
    nb::class_<Exact, Model>(m, "Exact", "In float64, bit for bit as the scalar engine.")
        .def("__init__", &Exact::init, nb::arg("config"), nb::arg("vocab_size"),
             numbers("parameters"), numbers("m"), numbers("v"), nb::arg("step"), nb::kw_only(),
             nb::arg("isa") = nb::none(), nb::arg("libm") = nb::none())
        .def("__init__", &refuse_again);
#ifdef MICROGPT_FAST
    nb::class_<Fast, Model>(m, "Fast", "In float32, with threads.")
        .def("__init__", &Fast::init, nb::arg("config"), nb::arg("vocab_size"),
             numbers("parameters"), numbers("m"), numbers("v"), nb::arg("step"), nb::arg("threads"),
             nb::arg("isa"))
        .def("__init__", &refuse_again);
    m.def("fast_peak", &fast_peak, nb::arg("isa"),
          "float32 operations a second of one core with that instruction set, from registers.");
#endif
}

}  // namespace

}  // namespace microgpt

NB_MODULE(_native, m) {
    m.doc() = "The compiled engines of microgpt, as Python sees them.";
    // An engine that a thread or a module global still holds when the interpreter ends is no leak.
    nanobind::set_leak_warnings(false);
    microgpt::bind(m);
    microgpt::follow_the_interpreter();
}
