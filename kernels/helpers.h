// What generated C++ kernels call. T is float or double; B, C, HW and so on are counted in 64 bits.
//
// Everything is written without branches, so that loops over it become vector instructions. Values that are not
// numbers stay so, and infinities do: a layer that diverges has to be seen to. No header is included, for
// headers take longer to read than the kernels to compile.

typedef long long i64;

extern "C" double exp(double), log(double), tanh(double);

namespace {

inline int bits_of(float a) { return __builtin_bit_cast(int, a); }
inline float float_of(int bits) { return __builtin_bit_cast(float, bits); }

inline float square_root(float a) { return __builtin_sqrtf(a); }
inline double square_root(double a) { return __builtin_sqrt(a); }
inline float magnitude(float a) { return __builtin_fabsf(a); }
inline double magnitude(double a) { return __builtin_fabs(a); }

// e^a, to 2 units in the last place: 2^n e^r with |r| <= ln 2 / 2, and the polynomial of Cephes (Moshier 1989) for e^r.
// The power of 2 is applied in halves, so that results below the smallest normal number are right as well.
inline float exponential(float a) {
    float x = a < -104.0f ? -104.0f : a;
    x = x > 89.0f ? 89.0f : x;
    x = a == a ? x : 0.0f;  // no whole number is near what is none
    const float n = __builtin_rintf(x * 1.44269504088896341f);
    const float r = x - n * 0.693359375f - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    const float y = p * (r * r) + r + 1.0f;
    const int k = int(n), half = k >> 1;
    const float scaled = y * float_of((half + 127) << 23) * float_of((k - half + 127) << 23);
    return a == a ? scaled : a;
}
inline double exponential(double a) { return ::exp(a); }

// ln a of a positive normal number or infinity, to 2 units in the last place: e ln 2 + ln m with m in [sqrt(1/2), sqrt 2),
// and the polynomial of Cephes for ln m.
inline float logarithm(float a) {
    const int e = (bits_of(a) - 0x3f3504f3) >> 23;
    const float f = float_of(bits_of(a) - (e << 23)) - 1.0f, z = f * f;
    float p = 7.0376836292e-2f;
    p = p * f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    const float y = f + (p * f * z - 0.5f * z + float(e) * -2.12194440e-4f) + float(e) * 0.693359375f;
    return a < __builtin_inff() ? y : a;  // infinity, or not a number
}
inline double logarithm(double a) { return ::log(a); }

// (1 - e) / (1 + e) with e = exp(-2 |a|) loses digits near 0, where a series takes over; see the Triton helpers.
inline float tanh(float a) {
    const float size = magnitude(a), e = exponential(-2.0f * size), s = a * a;
    const float far = (1.0f - e) / (1.0f + e);
    const float near = a * (1.0f + s * (-1.0f / 3.0f + s * (2.0f / 15.0f - s * (17.0f / 315.0f))));
    return size < 0.15f ? near : a < 0.0f ? -far : far;
}
inline double tanh(double a) { return ::tanh(a); }

inline T sigmoid(T a) { return T(1) / (T(1) + exponential(-a)); }
inline T square(T a) { return a * a; }
inline T sign(T a) { return a > T(0) ? T(1) : a < T(0) ? T(-1) : a * T(0); }

// The larger; not a number where either is none.
inline T maximum(T a, T b) {
    const T larger = a > b ? a : b;
    return a == a ? larger : a;
}

// What max(a, b) hands to a of its gradient: 1, 0, or 1/2 at a tie.
inline T share(T a, T b) { return a > b ? T(1) : a < b ? T(0) : T(0.5); }

// y where |y| >= eps, else eps with the sign of y (+ for 0); and 1 where that leaves y alone, else 0.
inline T away_from_zero(T y, T eps) { return magnitude(y) < eps ? (y < T(0) ? -eps : eps) : y; }
inline T kept(T y, T eps) { return magnitude(y) >= eps ? T(1) : T(0); }

// sign(a) ln(|a| + eps), sign(a) sqrt(|a| + eps), and their derivatives, which are 0 at 0.
inline T signed_log(T a, T eps) { return sign(a) * logarithm(magnitude(a) + eps); }
inline T signed_root(T a, T eps) { return sign(a) * square_root(magnitude(a) + eps); }
inline T log_slope(T a, T eps) { return square(sign(a)) / (magnitude(a) + eps); }
inline T root_slope(T a, T eps) { return square(sign(a)) / (T(2) * square_root(magnitude(a) + eps)); }

}  // namespace
