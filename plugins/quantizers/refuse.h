/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* How a quantizer's grid() says no: one line for who wrote the job. */
#ifndef CWP_QUANTIZERS_REFUSE_H
#define CWP_QUANTIZERS_REFUSE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cwp/error.h>

/* The reason into err [err_size], which may be NULL; returns CWP_EVALUE. */
__attribute__((format(printf, 3, 4))) static inline int refuse(char *err, size_t err_size, const char *format, ...)
{
	va_list ap;

	if (err != NULL && err_size > 0) {
		va_start(ap, format);
		vsnprintf(err, err_size, format, ap);
		va_end(ap);
	}
	return CWP_EVALUE;
}

/* The same of a matrix without elements. */
static inline int refuse_empty(char *err, size_t err_size, uint64_t rows, uint64_t cols)
{
	return refuse(err, err_size, "a matrix of %llu x %llu has nothing to quantize", (unsigned long long)rows, (unsigned long long)cols);
}

#endif
