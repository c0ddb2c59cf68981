// Functions that generated C++ kernels call. They compute in T, which is double if DOUBLE is 1 and float otherwise, and
// count in 64 bits.
//
// Loops process W numbers at a time, as vectors of the compiler's vector extension, and do not branch. NaN and infinity
// propagate, so that a layer that diverges can be detected. No header of the standard library is included, because
// reading one takes longer than compiling the kernels.

typedef long long i64;

extern "C" double erf(double), exp(double), log(double), tanh(double);

namespace {

#if DOUBLE
typedef double T;
typedef i64 I;  // an integer as wide as T
#else
typedef float T;
typedef int I;
#endif

#if defined(__AVX512F__)
const int BYTES = 64;
#elif defined(__AVX__)
const int BYTES = 32;
#else
const int BYTES = 16;
#endif
const int W = BYTES / sizeof(T);

typedef T V __attribute__((vector_size(BYTES)));
typedef T Unaligned __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));
typedef double D __attribute__((vector_size(W * sizeof(double))));  // for sums over samples
typedef I M __attribute__((vector_size(BYTES)));  // integers, and results of comparisons: -1 where they hold

inline i64 min(i64 a, i64 b) { return a < b ? a : b; }
inline i64 max(i64 a, i64 b) { return a > b ? a : b; }

inline V all(T a) { return V{} + a; }
inline V all(V a) { return a; }
inline D wide(V a) { return __builtin_convertvector(a, D); }
inline D wide(T a) { return wide(all(a)); }
inline V narrow(D a) { return __builtin_convertvector(a, V); }
inline M whole(V a) { return __builtin_convertvector(a, M); }
inline M bits_of(V a) { return __builtin_bit_cast(M, a); }
inline V of_bits(M bits) { return __builtin_bit_cast(V, bits); }

inline M lanes() {
    M numbers = {};
    for (int i = 0; i < W; ++i) numbers[i] = i;
    return numbers;
}

// The first `left` numbers, followed by zeros.
inline V first(V a, i64 left) { return left >= W ? a : lanes() < M{} + I(left) ? a : V{}; }
inline V first(T a, i64 left) { return first(all(a), left); }

// Loads and stores of the first `left` numbers, which do not touch the memory after them. They use special instructions
// if the processor has these.
#if defined(__AVX512F__)
inline unsigned mask_of(i64 left) { return (1u << left) - 1; }
#if DOUBLE
inline V load_part(const T* from, i64 left) { return __builtin_ia32_loadupd512_mask(from, V{}, mask_of(left)); }
inline void store_part(T* to, V a, i64 left) { __builtin_ia32_storeupd512_mask(to, a, mask_of(left)); }
#else
inline V load_part(const T* from, i64 left) { return __builtin_ia32_loadups512_mask(from, V{}, mask_of(left)); }
inline void store_part(T* to, V a, i64 left) { __builtin_ia32_storeups512_mask(to, a, mask_of(left)); }
#endif
#else
inline V load_part(const T* from, i64 left) {
    V a = {};
    for (int i = 0; i < W; ++i) a[i] = i < left ? from[i] : T(0);
    return a;
}
inline void store_part(T* to, V a, i64 left) {
    for (int i = 0; i < left; ++i) to[i] = a[i];
}
#endif

inline V load(const T* from, i64 left) {
    return left >= W ? *reinterpret_cast<const Unaligned*>(from) : load_part(from, left);
}
inline void store(T* to, V a, i64 left) {
    if (left >= W)
        *reinterpret_cast<Unaligned*>(to) = a;
    else
        store_part(to, a, left);
}
inline void store(T* to, T a, i64 left) { store(to, all(a), left); }

// Loads and stores of the first `left` numbers at a distance of `apart` numbers from one another.
#if defined(__AVX512F__) && !defined(__clang__)
inline unsigned mask_up_to(i64 left) { return left >= W ? (1u << W) - 1 : mask_of(left); }
#if DOUBLE
inline V gather(const T* from, i64 apart, i64 left) {
    return __builtin_ia32_gatherdiv8df(V{}, from, lanes() * apart, mask_up_to(left), sizeof(T));
}
inline void scatter(T* to, V a, i64 apart, i64 left) {
    __builtin_ia32_scatterdiv8df(to, mask_up_to(left), lanes() * apart, a, sizeof(T));
}
#else
inline V gather(const T* from, i64 apart, i64 left) {
    return __builtin_ia32_gathersiv16sf(V{}, from, lanes() * I(apart), mask_up_to(left), sizeof(T));
}
inline void scatter(T* to, V a, i64 apart, i64 left) {
    __builtin_ia32_scattersiv16sf(to, mask_up_to(left), lanes() * I(apart), a, sizeof(T));
}
#endif
#else
inline V gather(const T* from, i64 apart, i64 left) {
    V a = {};
    for (int i = 0; i < W; ++i) a[i] = i < left ? from[i * apart] : T(0);
    return a;
}
inline void scatter(T* to, V a, i64 apart, i64 left) {
    for (int i = 0; i < W && i < left; ++i) to[i * apart] = a[i];
}
#endif
inline void scatter(T* to, T a, i64 apart, i64 left) { scatter(to, all(a), apart, left); }

// Loads the numbers of groups of `width` channels for the channels from c on, and stores them.
inline V spread(const T* from, i64 c, i64 width, i64 left) {
    if (width == 1) return load(from + c, left);
    V a = {};
    i64 group = c / width, end = (group + 1) * width;
    for (int i = 0; i < W && i < left; ++i) {
        if (c + i == end) ++group, end += width;
        a[i] = from[group];
    }
    return a;
}
inline void collect(T* to, V a, i64 c, i64 width, i64 left) {
    for (int i = 0; i < W && i < left; ++i) to[(c + i) / width] = a[i];
}

// The sum of all W numbers, by adding halves.
inline T sum_of(V a) {
#if defined(__clang__)
    for (int n = W / 2; n; n /= 2)
        for (int i = 0; i < n; ++i) a[i] += a[i + n];
#else
    if (W >= 16) a += __builtin_shuffle(a, lanes() ^ 8);
    if (W >= 8) a += __builtin_shuffle(a, lanes() ^ 4);
    if (W >= 4) a += __builtin_shuffle(a, lanes() ^ 2);
    a += __builtin_shuffle(a, lanes() ^ 1);
#endif
    return a[0];
}

inline V magnitude(V a) { return of_bits(bits_of(a) & ~(I(1) << (8 * sizeof(T) - 1))); }
inline V select(M where, V a, V b) { return where ? a : b; }

template <T function(T)> inline V each(V a) {
    for (int i = 0; i < W; ++i) a[i] = function(a[i]);
    return a;
}

#if DOUBLE
inline T square_root(T a) { return __builtin_sqrt(a); }
#else
inline T square_root(T a) { return __builtin_sqrtf(a); }
#endif
inline V square_root(V a) { return each<square_root>(a); }

#if DOUBLE

inline V exponential(V a) { return each<::exp>(a); }
inline V logarithm(V a) { return each<::log>(a); }
inline V tanh(V a) { return each<::tanh>(a); }
inline V error_function(V a) { return each<::erf>(a); }

#else

// Exponential, logarithm, hyperbolic tangent and error function of float32, the first two after Cephes (Moshier 1989),
// to 2 units in the last place, the last to 3.

// a 2^n for integer n, which is infinite or 0 if out of range. The power is applied in two halves, so that subnormal
// results are right as well.
#if defined(__AVX512F__) && !defined(__clang__)
inline V scaled(V a, V n) { return __builtin_ia32_scalefps512_mask(a, n, a, -1, 4); }
#else
inline V scaled(V a, V n) {
    const M k = whole(select(n == n, n, V{})), half = k >> 1;  // NaN has no integer near it
    return a * of_bits((half + 127) << 23) * of_bits((k - half + 127) << 23);
}
#endif

// 2^n e^r with |r| <= ln 2 / 2. NaN passes through every step.
inline V exponential(V a) {
    V x = select(a < -104.0f, all(-104.0f), a);
    x = select(x > 89.0f, all(89.0f), x);
    const float shift = 12582912.0f;  // 1.5 * 2^23: so large that adding it rounds to an integer
    const V n = (x * 1.44269504088896341f + shift) - shift;
    const V r = x - n * 0.693359375f - n * -2.12194440e-4f;
    V p = all(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return scaled(p * (r * r) + r + 1.0f, n);
}

// For a positive normal number or infinity: e ln 2 + ln m with m in [sqrt(1/2), sqrt 2).
inline V logarithm(V a) {
    const M e = (bits_of(a) - 0x3f3504f3) >> 23;
    const V f = of_bits(bits_of(a) - (e << 23)) - 1.0f, z = f * f, n = __builtin_convertvector(e, V);
    V p = all(7.0376836292e-2f);
    p = p * f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    const V y = f + (p * f * z - 0.5f * z + n * -2.12194440e-4f) + n * 0.693359375f;
    return select(a < __builtin_inff(), y, a);  // infinity or NaN
}

// (1 - e) / (1 + e) with e = exp(-2 |a|) loses digits near 0, where the series a - a^3/3 + 2a^5/15 - 17a^7/315
// takes over; its next term is below 1e-8 of a there.
inline V tanh(V a) {
    const V size = magnitude(a), e = exponential(-2.0f * size), s = a * a;
    const V far = (1.0f - e) / (1.0f + e);
    const V near = a * (1.0f + s * (-1.0f / 3.0f + s * (2.0f / 15.0f - s * (17.0f / 315.0f))));
    return select(size < 0.15f, near, select(a < 0.0f, -far, far));
}

// a p(a^2) below 1, where erf(a) / a is a polynomial to 2e-9, and 1 - exp(-a^2) q(|a|) from there on, where q is the
// scaled complementary error function to 2e-8 of the result. From 4 on the result is 1.
inline V error_function(V a) {
    const V size = select(magnitude(a) > 4.0f, all(4.0f), magnitude(a)), s = size * size;
    V p = all(7.8538564e-05f);
    p = p * s - 8.010192e-04f;
    p = p * s + 5.1883273e-03f;
    p = p * s - 2.6853811e-02f;
    p = p * s + 1.12835854e-01f;
    p = p * s - 3.7612626e-01f;
    p = p * s + 1.1283791f;
    V q = all(-3.9379118e-04f);
    q = q * size + 6.065814e-03f;
    q = q * size - 4.1312467e-02f;
    q = q * size + 1.6501749e-01f;
    q = q * size - 4.3313777e-01f;
    q = q * size + 7.94007e-01f;
    q = q * size - 1.0489546f;
    q = q * size + 9.862918e-01f;
    const V far = 1.0f - exponential(-s) * q;
    return select(size < 1.0f, a * p, select(a < 0.0f, -far, far));
}

#endif

inline V sigmoid(V a) { return T(1) / (T(1) + exponential(-a)); }
inline V square(V a) { return a * a; }
inline V sign(V a) { return select(a > T(0), all(1), select(a < T(0), all(-1), select(a == a, V{}, a))); }

// The larger of two numbers; NaN if either is NaN.
inline V maximum(V a, V b) { return select(a == a, select(a > b, a, b), a); }

// The share of its gradient that max(a, b) passes to a: 1, 0, or 1/2 at a tie.
inline V share(V a, V b) { return select(a > b, all(1), select(a < b, V{}, all(0.5))); }

// y if |y| >= eps, otherwise eps with the sign of y (+ for 0); and 1 if that leaves y unchanged, otherwise 0.
inline V away_from_zero(V y, T eps) { return select(magnitude(y) < eps, select(y < T(0), all(-eps), all(eps)), y); }
inline V kept(V y, T eps) { return select(magnitude(y) >= eps, all(1), V{}); }

// sign(a) ln(|a| + eps), sign(a) sqrt(|a| + eps), and their derivatives, which are 0 at 0.
inline V signed_log(V a, T eps) { return sign(a) * logarithm(magnitude(a) + eps); }
inline V signed_root(V a, T eps) { return sign(a) * square_root(magnitude(a) + eps); }
inline V log_slope(V a, T eps) { return square(sign(a)) / (magnitude(a) + eps); }
inline V root_slope(V a, T eps) { return square(sign(a)) / (T(2) * square_root(magnitude(a) + eps)); }

// The same functions of values that are constant on planes, alone or combined with values that are not.
inline T exponential(T a) { return exponential(all(a))[0]; }
inline T tanh(T a) { return tanh(all(a))[0]; }
inline T error_function(T a) { return error_function(all(a))[0]; }
inline T sigmoid(T a) { return sigmoid(all(a))[0]; }
inline T square(T a) { return a * a; }
inline T sign(T a) { return sign(all(a))[0]; }
inline T magnitude(T a) { return magnitude(all(a))[0]; }
inline T signed_log(T a, T eps) { return signed_log(all(a), eps)[0]; }
inline T signed_root(T a, T eps) { return signed_root(all(a), eps)[0]; }
inline T log_slope(T a, T eps) { return log_slope(all(a), eps)[0]; }
inline T root_slope(T a, T eps) { return root_slope(all(a), eps)[0]; }
inline T away_from_zero(T y, T eps) { return away_from_zero(all(y), eps)[0]; }
inline T kept(T y, T eps) { return kept(all(y), eps)[0]; }
inline T maximum(T a, T b) { return maximum(all(a), all(b))[0]; }
inline V maximum(V a, T b) { return maximum(a, all(b)); }
inline V maximum(T a, V b) { return maximum(all(a), b); }
inline T share(T a, T b) { return share(all(a), all(b))[0]; }
inline V share(V a, T b) { return share(a, all(b)); }
inline V share(T a, V b) { return share(all(a), b); }

}  // namespace
