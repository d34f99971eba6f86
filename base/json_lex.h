/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The parts of the event reader that read strings and numbers. */
#pragma once

#include "base/json_stream.h"

/* s->at is on the opening quote, afterwards behind the closing one. ret->event says whether it is a
 * key; text and length are set. CWP_EFORMAT, -ENOMEM. */
int cwb_json_lex_string(struct cwb_json_stream *s, struct cwb_json_item *ret, struct cwb_err *err);

/* s->at and ret->start are on its first byte, a digit or a sign. Sets ret->event and the value.
 * CWP_EFORMAT, -ENOMEM. */
int cwb_json_lex_number(struct cwb_json_stream *s, struct cwb_json_item *ret, struct cwb_err *err);
