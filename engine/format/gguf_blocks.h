/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Within the GGUF reader: decoders of blocks of 256 values in sub-blocks ("K" types). n is a number of whole blocks; every
 * product and sum is rounded to f32 by itself, as in ggml and in the gguf package. */
#pragma once

#include <stddef.h>

void cwe_gguf_decode_q2_k(const unsigned char *src, float *dst, size_t n);
void cwe_gguf_decode_q3_k(const unsigned char *src, float *dst, size_t n);
void cwe_gguf_decode_q4_k(const unsigned char *src, float *dst, size_t n);
void cwe_gguf_decode_q5_k(const unsigned char *src, float *dst, size_t n);
void cwe_gguf_decode_q6_k(const unsigned char *src, float *dst, size_t n);
void cwe_gguf_decode_q8_k(const unsigned char *src, float *dst, size_t n);
