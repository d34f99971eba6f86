/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What goes with what, in words: the carriers of a format, and the engines that load them. */
#pragma once

#include "engine/format/format.h"

/* As in protect.carrier, by enum cwj_carrier; NULL behind the last. */
const char *cwe_carrier_name(size_t carrier);
/* "overlay, none or dense": the carriers of a format. */
void cwe_format_carriers_text(const struct cwe_format *f, char *ret, size_t size);
/* An engine of others that loads such outputs, protected weights included, and the test of tests/interop that does it. */
struct cwe_support {
	const char *engine, *test;
};

/* NULL where the format does not have the carrier, or nothing is known. */
const struct cwe_support *cwe_support_find(const struct cwe_format *f, size_t carrier);
