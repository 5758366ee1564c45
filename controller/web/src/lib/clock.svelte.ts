/** The present, for texts such as "12 s ago": moves every two seconds, for all components at once. */
class Clock {
  now = $state(Date.now());

  constructor() {
    setInterval(() => {
      this.now = Date.now();
    }, 2_000);
  }
}

export const clock = new Clock();
