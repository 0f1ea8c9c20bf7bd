"""The dashboard: pages for people, rendered here, without JavaScript and without anything from another machine."""
