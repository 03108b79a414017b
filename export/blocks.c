// A plugin for qemu-user: which translated blocks of guest code ran how often between two marks, and their bytes.
// The guest marks a point by getpriority(PRIO_PROCESS, 0x51570000 | number), which is harmless everywhere.
// Debian ships no header for plugins: what is used of their API, version 1, is declared here.
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VISIBLE __attribute__((visibility("default")))
typedef uint64_t plugin_id;
typedef struct {
  const char *target_name;
  struct { int min, cur; } version;
  bool system_emulation;
  struct { int smp_vcpus, max_vcpus; } system;
} qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*on_block)(plugin_id, struct qemu_plugin_tb *);
typedef void (*on_syscall)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t, uint64_t);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, on_block);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, on_syscall);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
VISIBLE int qemu_plugin_version = 1;

enum { GETPRIORITY = 141, MARK = 0x51570000, ADD = 0 };
struct block {
  struct block *next;
  uint64_t count, before;  // executions; and those at the last mark
  size_t length;
  uint32_t words[];
};
static struct block *blocks;
static FILE *out;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void translated(plugin_id id, struct qemu_plugin_tb *code) {
  size_t length = qemu_plugin_tb_n_insns(code);
  struct block *fresh = calloc(1, sizeof *fresh + length * sizeof *fresh->words);
  fresh->length = length;
  for (size_t i = 0; i < length; i++)
    memcpy(&fresh->words[i], qemu_plugin_insn_data(qemu_plugin_tb_get_insn(code, i)), sizeof *fresh->words);
  pthread_mutex_lock(&lock);
  fresh->next = blocks;
  blocks = fresh;
  pthread_mutex_unlock(&lock);
  // not atomic: right for one busy thread, which is what is counted
  qemu_plugin_register_vcpu_tb_exec_inline(code, ADD, &fresh->count, 1);
}

static void called(plugin_id id, unsigned cpu, int64_t number, uint64_t which, uint64_t who, uint64_t a, uint64_t b,
                   uint64_t c, uint64_t d, uint64_t e, uint64_t f) {
  if (number != GETPRIORITY || ((uint32_t)who & 0xffff0000u) != MARK) return;
  unsigned mark = who & 0xffff;
  pthread_mutex_lock(&lock);
  for (struct block *one = blocks; one; one = one->next) {
    if (mark && one->count > one->before) {
      fprintf(out, "%llu", (unsigned long long)(one->count - one->before));
      for (size_t i = 0; i < one->length; i++) fprintf(out, " %08x", one->words[i]);
      fputc('\n', out);
    }
    one->before = one->count;
  }
  if (mark) fprintf(out, "END %u\n", mark);
  fflush(out);
  pthread_mutex_unlock(&lock);
}

VISIBLE int qemu_plugin_install(plugin_id id, const qemu_info_t *info, int argc, char **argv) {
  for (int i = 0; i < argc; i++)
    if (!strncmp(argv[i], "out=", 4)) out = fopen(argv[i] + 4, "w");
  if (!out) return 1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, called);
  return 0;
}
