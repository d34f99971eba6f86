/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Maps of matrices for the bulk copies of Hopper GPUs. The driver's function is asked for at run time, so that the plugin
 * does not need the driver's library to be loaded. */
#include "plugins/backends/cuda/tensor_map.h"

typedef CUresult(CUDAAPI *encode_fn)(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank, void *address,
	const cuuint64_t *dim, const cuuint64_t *strides, const cuuint32_t *box, const cuuint32_t *steps,
	CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill);

cudaError_t cuda_tensor_map(CUtensorMap *ret, const void *d_x, uint64_t rows, uint64_t cols, uint64_t ld, uint32_t box_rows)
{
	union {
		void *found;
		encode_fn encode;
	} symbol = {.found = NULL};
	enum cudaDriverEntryPointQueryResult query = cudaDriverEntryPointSymbolNotFound;
	/* Since CUDA 12.0. */
	cudaError_t e = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &symbol.found, 12000, cudaEnableDefault, &query);
	if (e != cudaSuccess || query != cudaDriverEntryPointSuccess || !symbol.found) {
		return e != cudaSuccess ? e : cudaErrorNotSupported;
	}
	const cuuint64_t dim[2] = {cols, rows}, strides[1] = {ld * 2};
	const cuuint32_t box[2] = {64, box_rows}, steps[2] = {1, 1};
	CUresult rc = symbol.encode(ret, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, (void *)(uintptr_t)d_x, dim, strides, box, steps,
		CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
		CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
	return rc == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}
