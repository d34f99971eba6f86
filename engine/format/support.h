/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What goes with what, in words: the carriers of a format, and the engines that load them. */
#pragma once

#include "engine/format/format.h"

/* As in protect.carrier, by enum cwj_carrier; NULL behind the last. */
const char *cwe_carrier_name(size_t carrier);
/* "overlay, none or dense": the carriers of a format. */
void cwe_format_carriers_text(const struct cwe_format *f, char *ret, size_t size);
/* The engine that the tests load such outputs with, protected weights included; the carrier is one that the format has. */
const char *cwe_support_engine(const struct cwe_format *f, size_t carrier);
