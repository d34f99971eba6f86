/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The texts of conf/chat, made into chat_table.c by the build. */
#pragma once

#include <stddef.h>

extern const char *const cwe_chat_table[]; /* NULL-terminated; each a JSON object */
