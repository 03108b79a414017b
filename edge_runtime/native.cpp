// The ExecuTorch engine behind a small C interface, called by engines/executorch.py through ctypes.
// It links the torch-free libraries of the executorch wheel and nothing else. Every function returns
// an ExecuTorch error code (0 = ok) unless it says otherwise; lokma_log() explains the last failure.
#include <executorch/extension/data_loader/mmap_data_loader.h>
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/runtime/core/event_tracer.h>
#include <executorch/runtime/platform/platform.h>
#include <executorch/runtime/platform/runtime.h>

#include <unistd.h>

#include <chrono>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

using executorch::aten::ScalarType;
using executorch::aten::SizesType;
using executorch::extension::from_blob;
using executorch::extension::MmapDataLoader;
using executorch::extension::Module;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::EventTracerEntry;
using executorch::runtime::Result;

// threadpool.h is not in the wheel, only its library: declare what is used.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  size_t get_thread_count() const;
  bool _unsafe_reset_threadpool(uint32_t count);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

// libstdc++ of g++ 12 reads this variable from GLIBC 2.32; our own keeps the library usable on 2.28.
extern "C" {
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;
}

namespace {

thread_local std::string last_log;

// ExecuTorch prints to stderr; keep its errors for the exception's text and drop the chatter.
void keep_errors(et_timestamp_t, et_pal_log_level_t level, const char*, const char*, size_t, const char* message,
                 size_t length) {
  if (level == kError || level == kFatal) {
    if (!last_log.empty()) last_log += "; ";
    if (last_log.size() < 1000) last_log.append(message, length);
  }
}

// Times every operator and delegate call of a run, in the program's order. Off, an event costs one virtual
// call that returns at once; ExecuTorch's own ETDump would write a file that only its torch tools read.
class Stopwatch final : public executorch::runtime::EventTracer {
 public:
  std::vector<std::pair<std::string, long long>> rows;  // the kernel's name, or DELEGATE_CALL, and its time in ns
  bool on = false;
  // A kernel's own event (native_call_add.out) lies inside its OPERATOR_CALL and gives it its name.
  EventTracerEntry start_profiling(const char* name, int32_t, uint32_t) override {
    if (!on) return {-1};
    if (std::strncmp(name, "native_call_", 12) == 0 && !rows.empty()) rows.back().first = name + 12;
    if (std::strcmp(name, "OPERATOR_CALL") != 0 && std::strcmp(name, "DELEGATE_CALL") != 0) return {-1};
    rows.emplace_back(name, 0);
    return {static_cast<int64_t>(rows.size()) - 1, -1, 0, now()};
  }
  void end_profiling(EventTracerEntry entry) override {
    if (entry.event_id >= 0) rows[entry.event_id].second = static_cast<long long>(now() - entry.start_time);
  }

  // The rest of the interface, which is not used.
  using Id = int32_t;
  using Tensor = executorch::aten::Tensor;
  using Tensors = executorch::runtime::ArrayRef<Tensor>;
  void create_event_block(const char*) override {}
  EventTracerEntry start_profiling_delegate(const char*, Id) override { return {-1}; }
  void end_profiling_delegate(EventTracerEntry, const void*, size_t) override {}
  void log_profiling_delegate(const char*, Id, uint64_t, uint64_t, const void*, size_t) override {}
  void track_allocation(uint32_t, size_t) override {}
  uint32_t track_allocator(const char*) override { return 0; }
  void set_delegation_intermediate_output_filter(executorch::runtime::EventTracerFilterBase*) override {}
  Result<bool> log_evalue(const EValue&, executorch::runtime::LoggedEValueType) override { return false; }
  Result<bool> log_intermediate_output_delegate(const char*, Id, const Tensor&) override { return false; }
  Result<bool> log_intermediate_output_delegate(const char*, Id, Tensors) override { return false; }
  Result<bool> log_intermediate_output_delegate(const char*, Id, const int&) override { return false; }
  Result<bool> log_intermediate_output_delegate(const char*, Id, const bool&) override { return false; }
  Result<bool> log_intermediate_output_delegate(const char*, Id, const double&) override { return false; }

 private:
  static uint64_t now() { return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1); }
};

struct Session {
  std::unique_ptr<Module> module;
  Stopwatch* stopwatch;  // the module owns it
  std::vector<EValue> outputs;
};

__attribute__((constructor)) void init() {
  executorch::runtime::register_pal(executorch::runtime::PalImpl::create(keep_errors, __FILE__));
  executorch::runtime::runtime_init();
}

// Runs `body`, which gives an Error or an int. No C++ exception may reach Python: the process would end.
template <typename Body>
int guarded(Body body) {
  last_log.clear();
  try {
    return static_cast<int>(body());
  } catch (const std::bad_alloc&) {
    return static_cast<int>(Error::MemoryAllocationFailed);
  } catch (const std::exception& error) {
    last_log = error.what();
    return static_cast<int>(Error::Internal);
  } catch (...) {
    last_log = "something that is no C++ exception was thrown";
    return static_cast<int>(Error::Internal);
  }
}

template <typename Meta>
Error describe(const Meta& meta, int* dtype, int* ndim, int* sizes) {
  if (!meta.ok()) return meta.error();
  auto dims = meta->sizes();
  if (dims.size() > 8) return Error::NotSupported;
  *dtype = static_cast<int>(meta->scalar_type());
  *ndim = static_cast<int>(dims.size());
  for (size_t i = 0; i < dims.size(); i++) sizes[i] = dims[i];
  return Error::Ok;
}

// The file says how much memory a method needs, and loading fills all of it with zeros: ask before.
Error check_memory(Module& module, const char* name) {
  auto meta = module.method_meta(name);
  if (!meta.ok()) return meta.error();
  uint64_t left = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  for (size_t i = 0; i < meta->num_memory_planned_buffers(); i++) {
    auto size = meta->memory_planned_buffer_size(i);
    if (!size.ok()) return size.error();
    if (*size < 0 || static_cast<uint64_t>(*size) > left) {
      last_log = "its memory plan asks for more than this machine has";
      return Error::MemoryAllocationFailed;
    }
    left -= static_cast<uint64_t>(*size);
  }
  return Error::Ok;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

const char* lokma_log() { return last_log.c_str(); }

// Must be called before the first method is loaded: XNNPACK keeps the pool that it finds then.
int lokma_set_threads(unsigned count) {
  auto* pool = executorch::extension::threadpool::get_threadpool();
  return pool && pool->_unsafe_reset_threadpool(count) ? static_cast<int>(pool->get_thread_count()) : -1;
}

// Maps the file piece by piece: what a delegate has packed for itself is let go at once.
int lokma_load(const char* path, void** session) {
  return guarded([&] {
    auto loader = MmapDataLoader::from(path, MmapDataLoader::MlockConfig::NoMlock);
    if (!loader.ok()) return loader.error();
    auto fresh = std::make_unique<Session>();
    fresh->module = std::make_unique<Module>(std::make_unique<MmapDataLoader>(std::move(*loader)), nullptr, nullptr,
                                             std::unique_ptr<Stopwatch>(fresh->stopwatch = new Stopwatch));
    Error error = fresh->module->load(executorch::runtime::Program::Verification::InternalConsistency);
    if (error == Error::Ok) *session = fresh.release();
    return error;
  });
}

int lokma_load_method(void* session, const char* name) {
  return guarded([&] {
    Module& module = *static_cast<Session*>(session)->module;
    Error error = check_memory(module, name);
    return error == Error::Ok ? module.load_method(name) : error;
  });
}

// How many inputs (outputs = 0) or outputs (outputs = 1) a method has, or minus an error code.
int lokma_count(void* session, const char* name, int outputs) {
  int count = 0;
  int error = guarded([&] {
    auto meta = static_cast<Session*>(session)->module->method_meta(name);
    if (meta.ok()) count = static_cast<int>(outputs ? meta->num_outputs() : meta->num_inputs());
    return meta.error();
  });
  return error ? -error : count;
}

// Type, rank and at most 8 sizes of one input or output.
int lokma_describe(void* session, const char* name, int outputs, int index, int* dtype, int* ndim, int* sizes) {
  return guarded([&] {
    auto meta = static_cast<Session*>(session)->module->method_meta(name);
    if (!meta.ok()) return meta.error();
    return outputs ? describe(meta->output_tensor_meta(index), dtype, ndim, sizes)
                   : describe(meta->input_tensor_meta(index), dtype, ndim, sizes);
  });
}

// Runs a method on `count` dense tensors; `sizes` holds their sizes one after another.
int lokma_run(void* session, const char* name, int count, void* const* data, const int* dtypes, const int* ndims,
              const int* sizes) {
  return guarded([&] {
    auto* self = static_cast<Session*>(session);
    std::vector<executorch::extension::TensorPtr> tensors;
    std::vector<EValue> inputs;
    for (int i = 0; i < count; sizes += ndims[i], i++) {
      tensors.push_back(from_blob(data[i], std::vector<SizesType>(sizes, sizes + ndims[i]),
                                  static_cast<ScalarType>(dtypes[i])));
      inputs.emplace_back(tensors.back());
    }
    self->outputs.clear();
    auto result = self->module->execute(name, inputs);
    if (result.ok()) self->outputs = std::move(*result);
    return result.error();
  });
}

// Bytes of output `index` of the last run, or -1 where it is not a tensor.
long long lokma_output_size(void* session, int index) {
  auto& outputs = static_cast<Session*>(session)->outputs;
  if (index < 0 || static_cast<size_t>(index) >= outputs.size() || !outputs[index].isTensor()) return -1;
  return static_cast<long long>(outputs[index].toTensor().nbytes());
}

// Copies output `index` into `target`, whose `size` must be what lokma_output_size() said.
int lokma_output(void* session, int index, void* target, size_t size) {
  if (lokma_output_size(session, index) != static_cast<long long>(size)) return static_cast<int>(Error::InvalidArgument);
  auto tensor = static_cast<Session*>(session)->outputs[index].toTensor();
  std::memcpy(target, tensor.const_data_ptr(), size);
  return 0;
}

// Starts (on = 1) or ends the timing of runs; either way the table is empty after.
void lokma_profile(void* session, int on) {
  static_cast<Session*>(session)->stopwatch->on = on != 0;
  static_cast<Session*>(session)->stopwatch->rows.clear();
}

// Row `index` of the table: its kernel's name, or DELEGATE_CALL, and its time; -1 past the end.
long long lokma_profile_row(void* session, int index, const char** name) {
  auto& rows = static_cast<Session*>(session)->stopwatch->rows;
  if (index < 0 || static_cast<size_t>(index) >= rows.size()) return -1;
  *name = rows[index].first.c_str();
  return rows[index].second;
}

void lokma_free(void* session) { delete static_cast<Session*>(session); }

}  // extern "C"
#pragma GCC visibility pop
