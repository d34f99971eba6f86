/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Codes of a quantizer as blocks of GGUF: which type holds a grid, scales that F16 holds, and the bytes of a row. */
#pragma once

#include <cwp/quantizer.h>

#include "engine/format/gguf.h"

#define CWE_GGUF_GROUP 32 /* columns of a block of Q8_0 and of Q4_0 */

/* The type of a grid that GGUF holds: Q8_0 or Q4_0. Their one scale for 32 columns also holds grids with larger groups of whole
 * blocks, the scale repeated. */
uint32_t cwe_gguf_grid_type(const struct cwp_grid *grid);

/* Makes scales [rows, n] values that F16 holds too, in place. BF16's values from 2^-17 to 65280 are. A smaller scale becomes
 * the next multiple of 2^-24, and its codes [rows, cols] are taken anew from the values that they stood for. 0, or CWP_EVALUE
 * for a scale above 65504, whose number goes to *ret_wrong. [any-thread] */
int cwe_gguf_settle(const struct cwp_grid *grid, uint64_t rows, uint64_t cols, uint8_t *codes, float *scales, uint64_t *ret_wrong);

/* One row of codes [cols] with its settled scales -> blocks of the type; returns the bytes written. */
size_t cwe_gguf_encode_row(uint32_t type, const struct cwp_grid *grid, uint64_t cols, const uint8_t *codes, const float *scales,
	void *dst);
