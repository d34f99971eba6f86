/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Cholesky factor of the inverse of a symmetric matrix, without the inverse. */
#pragma once

#include <stdint.h>

#include <cwp/host.h>

/* H [n, n] is given in reverse: a[i][k] = H[n-1-i][n-1-k], of which the lower triangle is read; a is used up. On success the
 * upper triangle of u [n, n] is U with H^-1 = U^T U, what lies below is not written.
 *
 * With J the reversal, J H J = L L^T gives H = R R^T for R = J L J, which is upper triangular; so U = R^-1 = J L^-1 J. All in
 * f64, in blocks, the same for any number of threads. Returns 0; 1 when H is not positive definite; -ENOMEM or CWP_ECANCELLED.
 * [worker] */
int factor_inverse(const struct cwp_host *host, uint64_t n, double *a, float *u);
/* Bytes that it takes beside its arguments. */
uint64_t factor_memory(uint64_t n, uint32_t threads);
