// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Gated activations, forward and backward.
#include <cwp/backend.h>

#include "plugins/backends/cuda/launch.h"
#include "plugins/backends/cuda/rows.cuh"
#include "plugins/backends/cuda/scalar.h"

namespace {

struct silu {
	__device__ void operator()(const float (&x)[2], float (&y)[1]) const
	{
		y[0] = scalar_silu(x[0], x[1]);
	}
};

struct gelu {
	__device__ void operator()(const float (&x)[2], float (&y)[1]) const
	{
		y[0] = scalar_gelu(x[0], x[1]);
	}
};

struct silu_backward {
	__device__ void operator()(const float (&x)[3], float (&y)[2]) const
	{
		scalar_silu_backward(x[0], x[1], x[2], &y[0], &y[1]);
	}
};

struct gelu_backward {
	__device__ void operator()(const float (&x)[3], float (&y)[2]) const
	{
		scalar_gelu_backward(x[0], x[1], x[2], &y[0], &y[1]);
	}
};

} // namespace

cudaError_t launch_glu(cudaStream_t stream, uint32_t act, const float *d_gate, const float *d_up, uint64_t n, float *d_h,
	uint16_t *d_copy)
{
	arrays<const float, 2> in = {{d_gate, d_up}};
	arrays<float, 1> out = {{d_h}};
	rounded<1> copies = {{d_copy}};
	return act == CWP_GLU_SILU ? map<2, 1>(stream, in, out, silu(), n, copies) : map<2, 1>(stream, in, out, gelu(), n, copies);
}

cudaError_t launch_glu_backward(cudaStream_t stream, uint32_t act, const float *d_gate, const float *d_up, const float *d_dh,
	uint64_t n, float *d_dgate, float *d_dup, uint16_t *d_dgate_copy, uint16_t *d_dup_copy)
{
	arrays<const float, 3> in = {{d_gate, d_up, d_dh}};
	arrays<float, 2> out = {{d_dgate, d_dup}};
	rounded<2> copies = {{d_dgate_copy, d_dup_copy}};
	return act == CWP_GLU_SILU ? map<3, 2>(stream, in, out, silu_backward(), n, copies)
				   : map<3, 2>(stream, in, out, gelu_backward(), n, copies);
}
