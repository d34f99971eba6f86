/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Unicode's normalization forms and small letters, with the reference library's tables. */
#pragma once

#include "engine/text/buffer.h"

enum cwe_form { CWE_FORM_NFC, CWE_FORM_NFD, CWE_FORM_NFKC, CWE_FORM_NFKD };

/* Length of the part at the start of text that no form's composition changes, whatever follows: all
 * of it, usually. text is valid UTF-8. */
size_t cwe_normal_stable(const char *text, size_t length);

/* Appends the normalized form of in (valid UTF-8) to out. The order of marks is found in linear
 * time. Errors of cwe_buffer_put. */
int cwe_normal_form(enum cwe_form form, const struct cwe_buffer *in, struct cwe_buffer *out);

/* Appends in with small letters, each character on its own. */
int cwe_normal_lower_case(const struct cwe_buffer *in, struct cwe_buffer *out);
