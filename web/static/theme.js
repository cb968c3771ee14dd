// Dark or light: as the system says until the button is pressed. No module, so that it runs
// before anything is painted.
(() => {
  const NAME = "lorajobs.theme";
  const root = document.documentElement;
  const saved = localStorage.getItem(NAME);
  if (saved === "dark" || saved === "light") root.dataset.theme = saved;

  const isDark = () =>
    root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;

  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      localStorage.setItem(NAME, root.dataset.theme);
    });
  });
})();
