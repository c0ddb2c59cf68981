// Calls a layer's kernels from PyTorch: one operator for all layers, with its autograd node. On small tensors, Python
// would take longer to collect the arguments than the kernels take to run. `calls.py` puts the order of the fields of a
// `Call` before this text, and builds it once for each PyTorch.

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/util/SmallVector.h>
#include <dlfcn.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>
#include <torch/library.h>

#include <algorithm>
#include <cstring>

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

typedef void (*Entry)(const int64_t* call, long long threads);

// Has PyTorch's threads do the parts of a kernel.
void by_torch(void (*work)(void*, long long), void* parts, long long count) {
    at::parallel_for(0, count, 1, [&](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; ++i) work(parts, i);
    });
}

// A library stays loaded as long as a form or a node of an autograd graph needs it.
struct Library {
    explicit Library(const std::string& path) : handle(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
        TORCH_CHECK(handle, "cannot load ", path, ": ", dlerror());
#ifdef _OPENMP  // otherwise PyTorch's loop would be a plain one, and the threads of the library are better
        typedef void (*Runner)(void (*work)(void*, long long), void* parts, long long count);
        reinterpret_cast<void (*)(Runner)>(dlsym(handle, "use_runner"))(by_torch);
#endif
    }
    ~Library() { dlclose(handle); }
    Library(const Library&) = delete;
    Entry entry(const char* name) const { return reinterpret_cast<Entry>(dlsym(handle, name)); }
    void* handle;
};

// A layer's kernels, and everything that follows from the settings and from the shape, type and memory format of an
// input.
struct Form : torch::CustomClassHolder {
    Form(const std::string& path, const std::string& graph, bool training, at::IntArrayRef sizes,
         at::ArrayRef<double> reals, at::IntArrayRef fields, at::IntArrayRef rows)
        : library(path),
          graph(graph),
          forward(library.entry("forward")),
          backward(library.entry("backward")),
          training(training),
          counts(sizes.begin(), sizes.begin() + N_COUNTS),
          threads(sizes[N_COUNTS]),
          stats(sizes[N_COUNTS + 1]),
          totals(sizes[N_COUNTS + 2]),
          running(sizes[N_COUNTS + 3]),
          reals(reals.begin(), reals.end()),
          fields(fields.begin(), fields.end()),
          rows(rows.begin(), rows.end()) {}

    const Library library;
    const std::string graph;  // as JSON
    const Entry forward, backward;
    const bool training;
    const std::vector<int64_t> counts;
    // The threads worth starting, the sizes of the two buffers, and the number of running values.
    const int64_t threads, stats, totals, running;
    const std::vector<double> reals;
    // The fields of a `Call` for the parameters, and the rows of their gradients.
    const std::vector<int64_t> fields, rows;
};

// A vector in the type of x, contiguous.
Tensor as(const Tensor& vector, const Tensor& x) {
    return vector.scalar_type() == x.scalar_type() && vector.is_contiguous()
               ? vector
               : vector.to(x.scalar_type()).contiguous();
}

// Whether two tensors of the same shape have their elements at the same places. The stride of an axis with one element
// says nothing: views of rows as planes have axes of one position, and their strides differ from those of gradients.
bool same_places(const Tensor& a, const Tensor& b) {
    for (int64_t i = 0; i < a.dim(); ++i)
        if (a.size(i) > 1 && a.stride(i) != b.stride(i)) return false;
    return true;
}

// The fields of a `Call`, each of 8 bytes. The tensors that it points to have to live until it has run.
struct Call {
    Call(const Form& form, const Tensor& x, at::TensorList vectors, at::TensorList running)
        : words(N_POINTERS + form.running + N_COUNTS + N_REALS, 0) {
        for (size_t i = 0; i < vectors.size(); ++i) point(form.fields[i], own(vectors[i], x));
        for (size_t i = 0; i < running.size(); ++i) point(N_POINTERS + i, own(running[i], x));
        auto* next = std::copy(form.counts.begin(), form.counts.end(), words.data() + N_POINTERS + form.running);
        std::memcpy(next, form.reals.data(), N_REALS * sizeof(double));
        point(at_x_ptr, x);
    }
    Tensor own(const Tensor& vector, const Tensor& x) { return owned.emplace_back(as(vector, x)); }
    void point(size_t field, const Tensor& to) { words[field] = reinterpret_cast<int64_t>(to.data_ptr()); }
    void point(size_t field, const Tensor& to, int64_t from) {
        point(field, to);
        words[field] += from * to.element_size();
    }
    void run(Entry entry, const Form& form) {
        entry(words.data(), form.threads > 1 ? std::min<int64_t>(form.threads, at::get_num_threads()) : 1);
    }
    c10::SmallVector<int64_t, 40> words;
    c10::SmallVector<Tensor, 8> owned;
};

// The gradients of x and of the parameters by the operator in `torch_operator.py`, which has a derivative itself.
variable_list differentiable(const Form& form, const Tensor& dy, const variable_list& saved) {
    static const auto op = c10::Dispatcher::singleton().findSchemaOrThrow("evonas::norm_act_backward", "");
    const variable_list parameters(saved.begin() + 2, saved.begin() + 2 + form.fields.size());
    torch::jit::Stack stack = {dy, saved[0], saved[1], parameters, c10::IValue(), "cpp", form.graph, form.training,
                               form.counts[at_groups], form.reals[at_eps], form.reals[at_momentum]};
    op.callBoxed(stack);
    variable_list found = stack[0].toTensorVector();
    for (size_t i = 0; i < parameters.size(); ++i) found[i + 1] = found[i + 1].to(parameters[i].scalar_type());
    return found;
}

struct Function : torch::autograd::Function<Function> {
    static Tensor forward(
        AutogradContext* ctx, const Tensor& x, at::TensorList parameters, at::TensorList running, int64_t number) {
        const at::AutoDispatchBelowADInplaceOrView below;  // autograd must not record anything in here
        auto form = c10::intrusive_ptr<Form>::reclaim_copy(reinterpret_cast<Form*>(number));
        Tensor y = at::empty_like(x), stats = at::empty({form->stats}, x.options());
        Call call(*form, x, parameters, running);
        call.point(at_y_ptr, y);
        call.point(at_stats_ptr, stats);
        call.run(form->forward, *form);
        variable_list kept = {x, stats};
        kept.insert(kept.end(), parameters.begin(), parameters.end());
        if (form->training) {
            const auto* own = call.owned.end() - running.size();
            for (size_t i = 0; i < running.size(); ++i) {
                if (!own[i].is_same(running[i])) running[i].copy_(own[i]);
                // So that autograd rejects a backward pass through operations that read the old values.
                if (!running[i].is_inference()) running[i].unsafeGetTensorImpl()->bump_version();
            }
        } else {
            kept.insert(kept.end(), running.begin(), running.end());
        }
        ctx->save_for_backward(std::move(kept));
        ctx->saved_data["form"] = c10::IValue::make_capsule(form);
        ctx->saved_data["inputs"] = int64_t(2 + parameters.size() + running.size());
        ctx->set_materialize_grads(false);
        return y;
    }

    static variable_list backward(AutogradContext* ctx, variable_list given) {
        variable_list found(ctx->saved_data["inputs"].toInt());
        Tensor dy = given[0];
        if (!dy.defined()) return found;
        const auto capsule = ctx->saved_data["form"].toCapsule();
        const Form& form = static_cast<const Form&>(*capsule);
        const variable_list saved = ctx->get_saved_variables();
        const Tensor &x = saved[0], &stats = saved[1];
        if (at::GradMode::is_enabled()) {  // the gradients are to have gradients themselves
            const variable_list gradients = differentiable(form, dy, saved);
            std::copy(gradients.begin(), gradients.end(), found.begin());
        } else {
            const at::AutoDispatchBelowADInplaceOrView below;
            if (dy.scalar_type() != x.scalar_type() || !same_places(dy, x)) dy = at::empty_like(x).copy_(dy);
            const int64_t channels = x.size(1), planes = x.size(0) * channels;
            found[0] = at::empty_like(x);
            const int64_t count = form.fields.size();
            const Tensor gradients = at::empty({count, channels}, x.options());
            // The totals, followed by the gradients of every plane.
            const Tensor between = at::empty({form.totals + count * planes}, x.options());
            const at::ArrayRef<Tensor> all(saved);
            Call call(form, x, all.slice(2, count), all.slice(2 + count));
            call.point(at_dy_ptr, dy);
            call.point(at_dx_ptr, found[0]);
            call.point(at_stats_ptr, stats);
            call.point(at_totals_ptr, between);
            call.point(at_densities_ptr, between, form.totals);
            call.point(at_gradients_ptr, gradients);
            call.run(form.backward, form);
            for (int64_t i = 0; i < count; ++i)
                found[i + 1] = gradients.select(0, form.rows[i]).to(saved[i + 2].scalar_type());
        }
        return found;
    }
};

Tensor norm_act(const Tensor& x, at::TensorList parameters, at::TensorList running, int64_t form) {
    return Function::apply(x, parameters, running, form);
}

int64_t make_form(
    const std::string& path, const std::string& graph, bool training, at::IntArrayRef sizes,
    at::ArrayRef<double> reals, at::IntArrayRef fields, at::IntArrayRef rows) {
    return reinterpret_cast<int64_t>(
        c10::make_intrusive<Form>(path, graph, training, sizes, reals, fields, rows).release());
}

void forget_form(int64_t form) { c10::intrusive_ptr<Form>::reclaim(reinterpret_cast<Form*>(form)); }

}  // namespace

TORCH_LIBRARY(evonas_calls, library) {
    library.def("norm_act(Tensor x, Tensor[] parameters, Tensor[] running, int form) -> Tensor", &norm_act);
    library.def(
        "make_form(str path, str graph, bool training, int[] sizes, float[] reals, int[] fields, int[] rows) -> int",
        [](std::string path, std::string graph, bool training, std::vector<int64_t> sizes, std::vector<double> reals,
           std::vector<int64_t> fields, std::vector<int64_t> rows) {
            return make_form(path, graph, training, sizes, reals, fields, rows);
        });
    library.def("forget_form(int form) -> ()", &forget_form);
}
