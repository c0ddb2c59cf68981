// Runs a function on every sample of a batch, or on every part of its rows, in several threads if that is worth it. The
// result does not depend on which thread processes which: sums over samples are computed afterwards, in their order.
//
// PyTorch's own threads are used where `use_runner` has been told of them, because they are running already, and wait by
// spinning: threads of ours would have to share cores with them.

#include <pthread.h>

typedef void (*Runner)(void (*work)(void*, i64), void* parts, i64 count);
static Runner runner = nullptr;
extern "C" void use_runner(Runner given) { runner = given; }

namespace {

struct Part {
    void (*work)(const Call&, i64);
    const Call* call;
    i64 first, last;
    bool backwards;
};

void* go_over(void* argument) {
    const Part& part = *static_cast<const Part*>(argument);
    for (i64 i = part.first; i < part.last; ++i)
        part.work(*part.call, part.backwards ? part.first + part.last - 1 - i : i);
    return nullptr;
}

void go_over_one(void* parts, i64 number) { go_over(static_cast<Part*>(parts) + number); }

void over_parts(
    void (*work)(const Call&, i64), const Call& call, i64 count, i64 threads, bool backwards = false) {
    const i64 most = 64;
    threads = threads < count ? threads : count;
    threads = threads < most ? threads : most;
    Part parts[most];
    pthread_t started[most];
    bool runs[most] = {};
    for (i64 t = 0; t < threads; ++t)
        parts[t] = {work, &call, count * t / threads, count * (t + 1) / threads, backwards};
    if (runner && threads > 1) return runner(go_over_one, parts, threads);
    for (i64 t = 1; t < threads; ++t) runs[t] = pthread_create(&started[t], nullptr, go_over, &parts[t]) == 0;
    go_over(&parts[0]);
    for (i64 t = 1; t < threads; ++t) {
        if (runs[t])
            pthread_join(started[t], nullptr);
        else
            go_over(&parts[t]);
    }
}

// In reverse order, a second run begins with the samples that the first one left in the cache.
void over_samples(void (*work)(const Call&, i64), const Call& call, i64 threads, bool backwards) {
    over_parts(work, call, call.B, threads, backwards);
}

}  // namespace
