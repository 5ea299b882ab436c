import { mount } from "svelte";

import App from "./views/App.svelte";
import "./style.css";

mount(App, { target: document.getElementById("app")! });
