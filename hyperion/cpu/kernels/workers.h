/* Threads that sleep between calls and share out the chunks of one job. Waking them costs some 10 us, starting threads would cost 30.

   A worker that wakes late finds nothing to do: the calling thread takes chunks meanwhile and waits only for workers that took one. Which
   thread does a chunk is not fixed; chunks are, so no result may depend on more than the chunks. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

typedef struct Job Job;
static void run_chunk(const Job *job, long chunk);

enum { MOST_WORKERS = 63 };

static struct {
  pthread_mutex_t busy, lock;                            /* busy: held by the call that uses the workers */
  pthread_cond_t wake, done;
  const Job *job;
  long chunks;
  atomic_long next;
  int workers, wanted, active;                           /* started; that may still join this job; that work on it */
  int prepared;
} crew = {.busy = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER,
          .done = PTHREAD_COND_INITIALIZER};

static void take_chunks(const Job *job, long chunks, atomic_long *next) {
#if defined(__x86_64__)
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);                           /* flush denormals to zero: they are many times slower on some processors */
#endif
  for (long chunk; (chunk = atomic_fetch_add(next, 1)) < chunks;) run_chunk(job, chunk);
#if defined(__x86_64__)
  _mm_setcsr(before);
#endif
}

static void *serve(void *unused) {
  pthread_mutex_lock(&crew.lock);
  for (;;) {
    while (!crew.wanted) pthread_cond_wait(&crew.wake, &crew.lock);
    crew.wanted--;
    crew.active++;
    const Job *job = crew.job;
    const long chunks = crew.chunks;
    pthread_mutex_unlock(&crew.lock);
    take_chunks(job, chunks, &crew.next);
    pthread_mutex_lock(&crew.lock);
    if (!--crew.active) pthread_cond_signal(&crew.done);
  }
  return unused;
}

/* A forked child has none of its parent's threads, and locks as they happened to be. */
static void forget_workers(void) {
  pthread_mutex_init(&crew.busy, 0);
  pthread_mutex_init(&crew.lock, 0);
  pthread_cond_init(&crew.wake, 0);
  pthread_cond_init(&crew.done, 0);
  crew.workers = crew.wanted = crew.active = 0;
}

/* Start workers until there are `count`; fewer, if the system refuses, cost speed only. Signals are left to the program's own threads. */
static void start_workers(int count) {
  if (!crew.prepared) crew.prepared = !pthread_atfork(0, 0, forget_workers);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (pthread_t thread; crew.workers < count && !pthread_create(&thread, 0, serve, 0); crew.workers++) pthread_detach(thread);
  pthread_sigmask(SIG_SETMASK, &before, 0);
}

/* Do all chunks of a job, with up to `threads` threads. One job at a time has the workers; a call beside it does its own work. */
static void spread(const Job *job, long chunks, long threads) {
  long helpers = (threads < chunks ? threads : chunks) - 1;
  if (helpers > MOST_WORKERS) helpers = MOST_WORKERS;
  if (helpers < 1 || pthread_mutex_trylock(&crew.busy)) {
    atomic_long own = 0;
    take_chunks(job, chunks, &own);
    return;
  }
  pthread_mutex_lock(&crew.lock);
  if (crew.workers < helpers) start_workers((int)helpers);
  crew.job = job;
  crew.chunks = chunks;
  atomic_store(&crew.next, 0);
  crew.wanted = (int)helpers;
  if (helpers == 1) pthread_cond_signal(&crew.wake);
  else pthread_cond_broadcast(&crew.wake);
  pthread_mutex_unlock(&crew.lock);
  take_chunks(job, chunks, &crew.next);
  pthread_mutex_lock(&crew.lock);
  crew.wanted = 0;
  while (crew.active) pthread_cond_wait(&crew.done, &crew.lock);
  pthread_mutex_unlock(&crew.lock);
  pthread_mutex_unlock(&crew.busy);
}
