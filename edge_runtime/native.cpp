// The ExecuTorch engine behind a small C interface, called by engines/executorch.py through ctypes.
// It links the torch-free libraries of the executorch wheel and nothing else. Every function returns
// an ExecuTorch error code (0 = ok) unless it says otherwise; lokma_log() explains the last failure.
#include <executorch/extension/data_loader/buffer_data_loader.h>
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/runtime/platform/platform.h>
#include <executorch/runtime/platform/runtime.h>

#include <unistd.h>

#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <vector>

using executorch::aten::ScalarType;
using executorch::aten::SizesType;
using executorch::extension::BufferDataLoader;
using executorch::extension::from_blob;
using executorch::extension::Module;
using executorch::runtime::Error;
using executorch::runtime::EValue;

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

constexpr int kMaxDims = 8;
thread_local std::string last_log;

// ExecuTorch prints to stderr; keep its errors for the exception's text and drop the chatter.
void keep_errors(et_timestamp_t, et_pal_log_level_t level, const char*, const char*, size_t, const char* message,
                 size_t length) {
  if (level == kError || level == kFatal) {
    if (!last_log.empty()) last_log += "; ";
    if (last_log.size() < 1000) last_log.append(message, length);
  }
}

struct Session {
  std::unique_ptr<Module> module;
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
  }
}

template <typename Meta>
Error describe(const Meta& meta, int* dtype, int* ndim, int* sizes) {
  if (!meta.ok()) return meta.error();
  auto dims = meta->sizes();
  if (dims.size() > kMaxDims) return Error::NotSupported;
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

// `data` must stay alive and unchanged until lokma_free(): nothing of it is copied here.
int lokma_load(const void* data, size_t size, void** session) {
  return guarded([&] {
    auto fresh = std::make_unique<Session>();
    fresh->module = std::make_unique<Module>(std::make_unique<BufferDataLoader>(data, size));
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

void lokma_free(void* session) { delete static_cast<Session*>(session); }

}  // extern "C"
#pragma GCC visibility pop
