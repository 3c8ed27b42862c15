// SPDX-License-Identifier: Apache-2.0
// What a mutex guards, said so that clang checks it (-Wthread-safety, an error in the preset clang);
// for g++ the words mean nothing. See "Thread Safety Analysis" in clang's manual.
//
//   base::Mutex mutex_;
//   int waiting_ USERFAULT_GUARDED_BY(mutex_) = 0;
//   void drain() USERFAULT_REQUIRES(mutex_);
//
// The standard library's mutexes carry no such words with libstdc++: base/mutex.h has one that does.
#pragma once

#if defined(__clang__)
#define USERFAULT_THREAD_ANNOTATION(words) __attribute__((words))
#else
#define USERFAULT_THREAD_ANNOTATION(words)
#endif

// A type that is a lock, and one that holds a lock as long as it lives.
#define USERFAULT_CAPABILITY(name) USERFAULT_THREAD_ANNOTATION(capability(name))
#define USERFAULT_SCOPED_CAPABILITY USERFAULT_THREAD_ANNOTATION(scoped_lockable)

// Data: touched only with the lock held; the pointer, or what it points at.
#define USERFAULT_GUARDED_BY(...) USERFAULT_THREAD_ANNOTATION(guarded_by(__VA_ARGS__))
#define USERFAULT_POINTEE_GUARDED_BY(...) USERFAULT_THREAD_ANNOTATION(pt_guarded_by(__VA_ARGS__))

// Functions: the caller holds it, the caller must not hold it, the call takes or gives it up.
#define USERFAULT_REQUIRES(...) USERFAULT_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define USERFAULT_EXCLUDES(...) USERFAULT_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define USERFAULT_ACQUIRE(...) USERFAULT_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define USERFAULT_TRY_ACQUIRE(...) USERFAULT_THREAD_ANNOTATION(try_acquire_capability(__VA_ARGS__))
#define USERFAULT_RELEASE(...) USERFAULT_THREAD_ANNOTATION(release_capability(__VA_ARGS__))

// The same of a lock that several threads may hold at once, to read.
#define USERFAULT_REQUIRES_SHARED(...) USERFAULT_THREAD_ANNOTATION(requires_shared_capability(__VA_ARGS__))
#define USERFAULT_ACQUIRE_SHARED(...) USERFAULT_THREAD_ANNOTATION(acquire_shared_capability(__VA_ARGS__))
#define USERFAULT_RELEASE_SHARED(...) USERFAULT_THREAD_ANNOTATION(release_shared_capability(__VA_ARGS__))

// A function that checks, when it runs, that the lock is held, where the analysis cannot follow it.
#define USERFAULT_ASSERT_CAPABILITY(...) USERFAULT_THREAD_ANNOTATION(assert_capability(__VA_ARGS__))

// The order between two mutexes of one class; where classes meet it stands on top of the header.
#define USERFAULT_ACQUIRED_BEFORE(...) USERFAULT_THREAD_ANNOTATION(acquired_before(__VA_ARGS__))
#define USERFAULT_ACQUIRED_AFTER(...) USERFAULT_THREAD_ANNOTATION(acquired_after(__VA_ARGS__))

// The last way out, with a comment that says why the analysis cannot see it.
#define USERFAULT_NO_THREAD_SAFETY_ANALYSIS USERFAULT_THREAD_ANNOTATION(no_thread_safety_analysis)
