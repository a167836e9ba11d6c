// The 16-bit floating-point numbers of tensor cores, as bits: IEEE 754 binary16 (fp16: 5 bits of
// exponent, 10 of fraction) and bfloat16 (8 and 7, the upper half of a float).
//
// To 16 bits they round to the nearest, ties to even; what is too large becomes infinity, what is
// too small zero or a subnormal number. A NaN stays a NaN of its sign and upper bits, made quiet.
#pragma once

#include <cstdint>

namespace amc {

uint16_t FloatToFp16(float value);
float Fp16ToFloat(uint16_t bits);

uint16_t FloatToBf16(float value);
float Bf16ToFloat(uint16_t bits);

// The largest rounding error of a value up to `magnitude` that stays finite: half the distance
// between neighbours there.
double Fp16RoundingError(float magnitude);
double Bf16RoundingError(float magnitude);

}  // namespace amc
