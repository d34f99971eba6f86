/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Codes of 4 and 8 bits packed into 32-bit words, as pack-quantized of compressed-tensors lays them out: element c of a
 * row is stored as code + 2^(bits-1) in the bits [c * bits, (c + 1) * bits) of the row's little-endian stream. Zero
 * points are packed the same way along the rows. Other widths are not written: their layout differs between releases
 * of the library. All functions are pure. [any-thread] */
#pragma once

#include <stdint.h>

/* Words of 32 bits for n elements. */
uint64_t cwe_pack_words(uint64_t n, unsigned bits);

/* One row: codes [cols] (int8) -> dst, 4 * cwe_pack_words(cols, bits) bytes. The last word is padded with zero bits. */
void cwe_pack_row(unsigned bits, const uint8_t *codes, uint64_t cols, uint8_t *dst);
void cwe_unpack_row(unsigned bits, const uint8_t *src, uint64_t cols, uint8_t *codes);

/* Zero points [rows, groups] -> dst [cwe_pack_words(rows, bits), groups] words. */
void cwe_pack_zeros(unsigned bits, const int8_t *zeros, uint64_t rows, uint64_t groups, uint8_t *dst);
/* The zero point of a row and group; src begins at the row of words that holds row `base`. */
int8_t cwe_unpack_zero(unsigned bits, const uint8_t *src, uint64_t base, uint64_t row, uint64_t groups, uint64_t group);
