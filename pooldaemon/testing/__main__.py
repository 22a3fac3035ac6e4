from pooldaemon.testing.bootstrap import main

main()
