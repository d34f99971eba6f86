/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* An output converted together with its report. */
#pragma once

#include "engine/format/convert.h"

/* cwe_output_convert with the report of the output, if it has one: in the new output it says what was converted to what,
 * holds the new sizes, schemes, adapter and whole modules, and is otherwise as the job made it; report.html and README.md are made
 * of it. o->report is not looked at. CWP_EFORMAT where the report is none. */
int cwe_convert(const struct cwe_convert_options *o, char ret_digest[65], struct cwb_err *err);
